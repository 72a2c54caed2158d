"""Load kit and benchmarks. Nothing here is needed to run scanpush."""
