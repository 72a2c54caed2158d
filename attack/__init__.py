"""`scripts/attack`: tries the threats of docs/security.md on one's own server, from outside.

It speaks HTTP and WebSocket as any stranger can, and imports nothing of the server.
"""
