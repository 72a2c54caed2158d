"""Passes callbacks that are no login on to another system: WeChat allows one server address only.

The other system verifies the same signature over the same bytes, so query and body are passed on
untouched, and its answer is WeChat's answer.
"""

import logging
from dataclasses import dataclass

import httpx

from services.errors import ExchangeFailed
from services.http_client import post
from services.tasks import Supervisor

log = logging.getLogger("scanpush.forward")

FORWARD_SECONDS = 3.0
"""How long the other system may take, within WeChat's five seconds."""

MAX_ANSWER_BYTES = 64 * 1024

MOST_IN_FLIGHT = 200
"""Forwards in flight; more callbacks are answered without asking: logins go before."""

HOPS_HEADER = "X-Scanpush-Hops"
"""How many scanpush servers passed the callback on, so that a ring of them ends."""

MOST_HOPS = 3

_MOST_TYPE = 200
"""Longest Content-Type passed back to WeChat, in characters."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The other system's answer."""

    body: bytes
    content_type: str


class Forwarder:
    """Passes one account's callbacks on to `forward_url`.

    Args:
        client: shared; redirects are not followed.
        forward_url: http or https; it may have a query of its own.
    """

    def __init__(
        self,
        client: httpx.AsyncBaseTransport,
        supervisor: Supervisor,
        forward_url: str,
        *,
        timeout_seconds: float = FORWARD_SECONDS,
    ) -> None:
        self._client = client
        self._supervisor = supervisor
        self._url = forward_url
        self._timeout_seconds = timeout_seconds
        self._in_flight = 0

    async def forward(
        self,
        raw_query: str,
        body: bytes,
        content_type: str,
        *,
        hops: int = 0,
        within_seconds: float = FORWARD_SECONDS,
    ) -> Forwarded | None:
        """The other system's answer (200, at most 64 KiB, in time), else None: say ``success``.

        Args:
            raw_query: the query string exactly as it arrived.
            hops: the number in the callback's `HOPS_HEADER`, 0 without one.
            within_seconds: what is left of the callback's own deadline.
        """
        if hops >= MOST_HOPS or self._in_flight >= MOST_IN_FLIGHT:
            log.warning("not forwarded: hops %d, in flight %d", hops, self._in_flight)
            return None
        separator = "&" if "?" in self._url else "?"
        self._in_flight += 1
        try:
            response = await post(
                self._client,
                f"{self._url}{separator}{raw_query}" if raw_query else self._url,
                content=body,
                headers={"Content-Type": content_type or "text/xml", HOPS_HEADER: str(hops + 1)},
                seconds=min(self._timeout_seconds, within_seconds),
                longest=MAX_ANSWER_BYTES,
            )
        except ExchangeFailed as error:
            log.warning("the forward address does not answer: %s", error)
            return None
        finally:
            self._in_flight -= 1
        if response.status != 200 or response.body is None:
            log.warning("the forward address answers HTTP %d or too much", response.status)
            return None
        # The other system's header goes into WeChat's answer only if it is harmless there.
        answered = response.content_type
        fits = len(answered) <= _MOST_TYPE and answered.isascii() and answered.isprintable()
        return Forwarded(response.body, answered if answered and fits else "text/xml")

    def copy_later(self, raw_query: str, body: bytes, content_type: str, *, hops: int = 0) -> None:
        """Pass a login on for information, in the background. Its answer is ignored."""
        work = self.forward(raw_query, body, content_type, hops=hops)
        self._supervisor.spawn(work, name="forward a login")
