"""One line per request that is worth one, without anything secret."""

import logging

from tornado.web import RequestHandler

from services.logs import request_id
from services.scrubbing import scrub_uri

log = logging.getLogger("scanpush.http")

MOST_METHOD_CHARACTERS = 16
"""RFC 9110 and WebDAV have none much longer; a stranger may send one of 64 KiB."""


def log_request(handler: RequestHandler) -> None:
    """Our failures at WARNING; what a client did wrong, and all else, below that."""
    # What fails before `prepare`, such as a body that is no proper form, has not told its id yet.
    request_id.set(getattr(handler, "request_id", ""))
    status = handler.get_status()
    request = handler.request
    level = logging.WARNING if status == 500 else logging.INFO if status >= 400 else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(
            level,
            "%d %s %s %.1f ms",
            status,
            (request.method or "")[:MOST_METHOD_CHARACTERS],
            scrub_uri(request.uri or ""),
            1000 * request.request_time(),
        )
