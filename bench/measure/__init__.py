"""The measuring programs behind scripts/bench: one module a question.

Every module has `FIGURES` and `run(options) -> Board`. The generator runs in this process on one
CPU, the servers on another; rounds are interleaved, so that other load of the machine affects all.
"""
