"""Minimal servers with the push half of scanpush's job, to be measured beside it.

Each accepts a WebSocket at /ws/<key>, and `POST /push/<key>` sends the posted body to the socket
of that key. They check nothing: no Origin, no token, no scene. Each prints one line
`ready {"ws": PORT, "push": PORT}` and leaves at SIGTERM, closing every socket with 1001.
"""
