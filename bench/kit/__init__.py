"""The load kit: many cheap WebSocket clients from one Python process.

Clients are bare sockets in one epoll with a few words of state each, framed by websockets'
`Frame`, so that the generator costs less than the server it measures. `python -m bench.kit` is
the command line; the programs of `bench/measure` use the same parts.
"""
