"""Bringing messages to the callback URL: time-outs, repeats, and giving up for a minute.

Facts: WeChat's pages "Receiving messages" (5 seconds, three tries) and "Alarms" (MarkFail).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx

from simulator.clock import TurnableClock
from simulator.config import SimulatedAccount, SimulatorConfig
from simulator.messages import (
    ORDINARY,
    Fields,
    IllegalReply,
    PushOptions,
    PushRequest,
    Reply,
    Sealer,
    read_reply,
    shaped,
)

KEPT_IDLE = 100


class Connections:
    """Lends clients, each with a connection of its own that is kept alive between pushes.

    One client for all would do, but each request then looks at every connection of its pool:
    with a few hundred pushes at once that costs more than everything else together.
    """

    def __init__(self) -> None:
        self._idle: list[httpx.AsyncClient] = []
        try:
            self._context = httpx.create_ssl_context()
        except OSError:
            # SSL_CERT_FILE cannot be read, which matters only to callback URLs of https.
            self._context = httpx.create_ssl_context(trust_env=False)
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request; limit its time yourself."""
        # No proxy from the environment: callbacks go where the settings say.
        client = (
            self._idle.pop()
            if self._idle
            else httpx.AsyncClient(  # nosec B113  # each caller limits its own time
                timeout=None, trust_env=False, verify=self._context
            )
        )
        try:
            yield client
        finally:
            # A burst may open more than are kept: what exceeds the limit is not worth a socket.
            if self._closed or len(self._idle) >= KEPT_IDLE:
                await client.aclose()
            else:
                self._idle.append(client)

    async def close(self) -> None:
        """Close the idle clients; one that is lent is closed when it comes back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()


log = logging.getLogger("scanpush.simulator")


@dataclass(frozen=True)
class Delivery:
    """What became of one message.

    `outcome`: ``answered``, ``failed`` (every try), ``suspended`` (MarkFail), ``held``,
    ``queued`` (not waited for), or why nothing was sent: ``expired``, ``unknown_code``,
    ``not_followed``, ``no_callback_url``. `delivered` counts the requests that were answered
    acceptably, `attempts` all requests; `status` and `problem` are the last one's.
    """

    outcome: str
    delivered: int = 0
    attempts: int = 0
    status: int | None = None
    reply: str = ""
    problem: str = ""

    @property
    def answered(self) -> bool:
        return self.outcome == "answered"

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Answer:
    status: int | None = None
    reply: Reply | None = None
    problem: str = ""


class Pusher:
    """Delivers messages for every account, each on its own schedule."""

    def __init__(
        self,
        config: SimulatorConfig,
        clock: TurnableClock,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._sealers = {account.app_id: Sealer(account, rng) for account in config.accounts}
        self._failures: dict[str, int] = {}
        self._suspended_until: dict[str, float] = {}
        self._held: list[tuple[SimulatedAccount, Fields, PushOptions]] = []
        self._connections = Connections()

    def know(self, account: SimulatedAccount) -> None:
        """Push by the settings of `account` from now on, and without waiting for MarkFail's end."""
        self._sealers[account.app_id] = Sealer(account, self._rng)
        self._suspended_until.pop(account.app_id, None)

    async def close(self) -> None:
        await self._connections.close()

    async def push(
        self, account: SimulatedAccount, message: Fields, options: PushOptions = ORDINARY
    ) -> Delivery:
        """Bring one message, and what the options add, until it is answered or given up."""
        if not account.callback_url:
            return Delivery("no_callback_url")
        # Shaped before it is held: a held message keeps its CreateTime, and is late when it comes.
        message = shaped(message, options)
        if options.hold:
            self._held.append((account, message, options))
            return Delivery("held")
        if options.delay:
            await asyncio.sleep(options.delay)
        tries = [self._deliver(account, message, options)]
        if options.same_second_pair:
            tries.append(self._deliver(account, _location(message), ORDINARY))
        return _together(await asyncio.gather(*tries))

    async def release(self) -> list[Delivery]:
        """Send what was held, newest first: later events have overtaken the earlier ones."""
        held, self._held = self._held[::-1], []
        return [
            await self._deliver(account, message, replace(options, hold=False))
            for account, message, options in held
        ]

    async def check(self, account: SimulatedAccount) -> bool:
        """The console's configuration check: a GET whose answer is exactly the echostr."""
        # Made here: the console checks what is typed in before it is kept.
        url, echo = Sealer(account, self._rng).check_request(int(self._clock.now()))
        try:
            async with self._limited(), self._connections.lend() as client:
                answer = await client.get(url)
        except (httpx.HTTPError, TimeoutError):
            return False
        return answer.status_code == 200 and answer.content == echo.encode()

    async def _deliver(
        self, account: SimulatedAccount, message: Fields, options: PushOptions
    ) -> Delivery:
        # MarkFail: what happens meanwhile is lost, not queued.
        if self._clock.now() < self._suspended_until.get(account.app_id, 0):
            return Delivery("suspended")
        now = int(self._clock.now())
        request = self._sealers[account.app_id].seal(message, now, options)
        copies = [
            self._until_answered(account, message, request, options)
            for _ in range(options.duplicate + 1)
        ]
        delivery = _together(await asyncio.gather(*copies))
        # The server is right to refuse a hostile push: that is no failure of the callback URL.
        if not options.hostile:
            self._mark(account.app_id, delivery.answered)
        return delivery

    async def _until_answered(
        self,
        account: SimulatedAccount,
        message: Fields,
        request: PushRequest,
        options: PushOptions,
    ) -> Delivery:
        """Try up to three times. Each try has its slot of five seconds, however it failed."""
        slot = self._config.push_timeout_seconds
        allowed = options.attempts or (1 if options.hostile else self._config.push_attempts)
        attempts, answer = 0, _Answer()
        while answer.reply is None and attempts < allowed:
            # The other tries repeat the same bytes: same nonce, same signature.
            if attempts and options.reencrypt:
                now = int(self._clock.now())
                request = self._sealers[account.app_id].seal(message, now, options)
            attempts += 1
            started = asyncio.get_running_loop().time()
            answer = await self._once(account, str(message["FromUserName"]), request)
            if answer.reply is None and attempts < allowed:
                await asyncio.sleep(started + slot - asyncio.get_running_loop().time())
        if answer.reply is None:
            log.info("push given up", extra={"problem": answer.problem, "attempts": attempts})
            return Delivery("failed", 0, attempts, answer.status, "", answer.problem)
        return Delivery("answered", 1, attempts, answer.status, answer.reply.text)

    async def _once(self, account: SimulatedAccount, openid: str, request: PushRequest) -> _Answer:
        headers = {"Content-Type": request.content_type, "User-Agent": "Mozilla/4.0"}
        try:
            async with self._limited(), self._connections.lend() as client:
                response = await client.post(request.url, content=request.body, headers=headers)
        except TimeoutError:
            return _Answer(problem="no answer in time")
        except httpx.HTTPError as error:
            return _Answer(problem=f"connection: {type(error).__name__}")
        # Only 200 is an answer: neither a redirect nor another 2xx is one.
        if response.status_code != 200:
            return _Answer(response.status_code, problem=f"HTTP status {response.status_code}")
        try:
            return _Answer(200, read_reply(response.content, account, openid))
        except IllegalReply as error:
            return _Answer(200, problem=str(error))

    def _limited(self) -> asyncio.Timeout:
        return asyncio.timeout(self._config.push_timeout_seconds)

    def _mark(self, app_id: str, answered: bool) -> None:
        """MarkFail: after many failures in a row nothing is pushed for a minute."""
        failures = self._failures[app_id] = 0 if answered else self._failures.get(app_id, 0) + 1
        if failures >= self._config.mark_fail_after:
            self._failures[app_id] = 0
            self._suspended_until[app_id] = self._clock.now() + self._config.mark_fail_seconds
            log.info("the callback URL failed too often: no pushes for a while")


def _together(deliveries: list[Delivery]) -> Delivery:
    """The deliveries of several copies as one: counts added, the rest from the first."""
    return replace(
        deliveries[0],
        delivered=sum(delivery.delivered for delivery in deliveries),
        attempts=sum(delivery.attempts for delivery in deliveries),
    )


def _location(message: Fields) -> Mapping[str, str | int]:
    """A LOCATION event of the same person in the same second."""
    common = {key: message[key] for key in ("ToUserName", "FromUserName", "CreateTime")}
    place = {"Latitude": "23.137466", "Longitude": "113.352425", "Precision": "119.385040"}
    return {**common, "MsgType": "event", "Event": "LOCATION", **place}
