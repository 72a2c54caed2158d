"""What all checks share: the settings, the way out, what was asked of WeChat, and how the server is
reached.
"""

import asyncio
import json
import secrets
import ssl
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from doctor.texts import SENTENCES, WHY, Said
from services.clock import Clock
from services.errors import ExchangeFailed, SettingsError
from services.http_client import Response, exchange
from services.origins import DEFAULT_PORTS, url_host
from services.settings.models import Settings, listened_on
from services.settings.outgoing import Outgoing
from services.wechat.accounts import proof
from services.wechat.client import WeChatClient, text_of

CALLS = frozenset(
    {
        ("POST", "/cgi-bin/stable_token"),
        ("GET", "/cgi-bin/get_api_domain_ip"),
        ("POST", "/cgi-bin/openapi/quota/get"),
        ("POST", "/cgi-bin/qrcode/create"),
        ("POST", "/cgi-bin/callback/check"),
        ("GET", "/cgi-bin/user/get"),
        ("GET", "/cgi-bin/user/info"),
        ("GET", "/cgi-bin/template/get_all_private_template"),
        ("GET", "/sns/oauth2/access_token"),
    }
)
"""All that is ever asked of WeChat."""

NO_ACTION: Mapping[str, Any] = {"action_name": "", "action_info": {}}
"""The only body that is ever sent to qrcode/create."""

SERVER_SECONDS = 4.0
"""For one request to the server; WeChat waits five."""

PROBE_SECONDS = 2.0
MOST_BYTES = 64 * 1024


class ObservedTransport(httpx.AsyncBaseTransport):
    """Lets only `CALLS` through to WeChat, and keeps how long each took and WeChat's time.

    Args:
        transport: the server's own way out.
        folder: what comes before the path of an interface: ``/api`` of a simulator.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, folder: str, clock: Clock) -> None:
        self._transport = transport
        self._folder = folder
        self._clock = clock
        self.seconds: list[float] = []
        self.ahead: list[float] = []
        """By how much WeChat's clock was ahead of this machine's, at each answer with a Date."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        # A simulated one has its hosts below paths.
        path = path.removeprefix(self._folder)
        is_creation = path == "/cgi-bin/qrcode/create"
        if (request.method, path) not in CALLS or (
            is_creation and json.loads(await request.aread()) != NO_ACTION
        ):
            raise AssertionError(f"the doctor does not call {request.method} {path}")
        began = self._clock.monotonic()
        response = await self._transport.handle_async_request(request)
        took = self._clock.monotonic() - began
        self.seconds.append(took)
        try:
            date = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
        except (ValueError, TypeError):
            return response
        # It is the whole second in which the answer was made: on average, half of one before.
        self.ahead.append(date + 0.5 - (self._clock.now() - took / 2))
        return response


@dataclass(frozen=True)
class NoReport:
    """Why the running server does not tell."""

    why: Said


class Examination:
    """One walk.

    Args:
        transport: the server's own way out, which is closed by `close`.
        only: the one account that is examined; empty: all that have an app_id.

    Raises:
        SettingsError: there is no account of that name.
    """

    def __init__(
        self,
        settings: Settings,
        outgoing: Outgoing,
        transport: httpx.AsyncBaseTransport,
        clock: Clock,
        only: str = "",
    ) -> None:
        wechat = settings.wechat
        if only and only not in wechat.accounts:
            names = ", ".join(wechat.accounts)
            raise SettingsError("--account", f"there is no such account; there are {names}")
        self.settings = settings
        self.outgoing = outgoing
        self.clock = clock
        self.first_account = next(iter(wechat.accounts))
        self.accounts = {
            name: account
            for name, account in wechat.accounts.items()
            if account.app_id and only in ("", name)
        }
        api_base = wechat.api_base.rstrip("/")
        self._way_out = transport
        self.transport = ObservedTransport(transport, urlsplit(api_base).path, clock)
        self.client = WeChatClient(
            self.transport, api_base, clock, timeout_seconds=wechat.timeout_seconds
        )
        self.own = own_url(settings)
        self.base = settings.server.public_url or self.own
        """Where the server is asked: from outside, where that is known."""
        self.trusted = outgoing.trusted or httpx.create_ssl_context(trust_env=False)
        self.tokens: dict[str, str] = {}
        """access_tokens by account."""
        self.refused_by: dict[str, str] = {}
        """Of the other accounts: the check that tells why WeChat gave none."""
        self.reached: set[str] = set()
        """The accounts for which the server at `base` answered as WeChat expects."""
        self._reports: dict[str, Mapping[str, Any] | NoReport] = {}
        self._runs_here: bool | None = None

    @property
    def console(self) -> str:
        """The console of a simulated WeChat, which stands for all pages of the real one."""
        wechat = self.settings.wechat
        if not wechat.is_simulated:
            return ""
        return f"{wechat.open_base.rstrip('/').removesuffix('/open')}/console"

    @property
    def ahead(self) -> float | None:
        """By how many seconds WeChat's clock is ahead of this machine's; None: unknown."""
        return statistics.median(self.transport.ahead) if self.transport.ahead else None

    def bearer(self, account: str) -> str:
        """What shows the server that the doctor has the account's settings."""
        moment = int(self.clock.now())
        secret = self.settings.wechat.accounts[account].app_secret.get_secret_value()
        return f"Bearer {moment}.{proof(secret, moment)}"

    def label(self, account: str) -> str:
        """The name of the account, where it has to be said."""
        return account if len(self.accounts) > 1 else ""

    async def call(
        self,
        account: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One call to WeChat with the account's access_token; errors as for `WeChatClient.json`."""
        query = {"access_token": self.tokens[account], **(query or {})}
        return await self.client.json(method, path, query=query, body=body)

    async def token_of(self, app_id: str, app_secret: str) -> str:
        """The access_token that every caller gets; errors as for `WeChatClient.json`."""
        body = {"grant_type": "client_credential", "appid": app_id, "secret": app_secret}
        answer = await self.client.json("POST", "/cgi-bin/stable_token", query={}, body=body)
        return text_of(answer, "access_token", 2048)

    async def ask_server(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        seconds: float = SERVER_SECONDS,
    ) -> Response:
        """One request to the server. Raises `ExchangeFailed`."""
        try:
            async with asyncio.timeout(seconds):
                return await exchange(
                    self._way_out,
                    method,
                    url,
                    query=query,
                    # For the log of a proxy, whose reader sees refused signatures there.
                    headers={"User-Agent": "scanpush-doctor", **(headers or {})},
                    content=content,
                    timeout=httpx.Timeout(seconds),
                    longest=MOST_BYTES,
                )
        except TimeoutError:
            raise ExchangeFailed("ReadTimeout") from None

    async def runs_here(self) -> bool:
        """Whether a scanpush answers at its port on this machine."""
        if self._runs_here is None:
            try:
                answer = await self.ask_server("GET", f"{self.own}/healthz", seconds=PROBE_SECONDS)
                self._runs_here = answer.status == 200 and b'"status"' in (answer.body or b"")
            except ExchangeFailed:
                self._runs_here = False
        return self._runs_here

    async def report(self, account: str) -> Mapping[str, Any] | NoReport:
        """What the running server tells of this request and of the account; asked once."""
        if account not in self._reports:
            self._reports[account] = await self._asked_report(account)
        return self._reports[account]

    async def _asked_report(self, name: str) -> Mapping[str, Any] | NoReport:
        try:
            answer = await self.ask_server(
                "GET",
                f"{self.base}/api/doctor",
                query={"account": name},
                headers={"Authorization": self.bearer(name)},
            )
        except ExchangeFailed:
            return NoReport(SENTENCES["unreached"])
        if answer.status == 401:
            return NoReport(SENTENCES["restart"])
        report = as_json(answer)
        if answer.status != 200 or not isinstance(report.get("callbacks"), dict):
            return NoReport(SENTENCES["older"])
        return report

    async def why(self, url: str, error: Exception) -> Said:
        """Why nothing came from the host of `url`, which is tried once more but for a proxy."""
        if "ProxyError" in str(error):
            return WHY["proxy"]
        known = await self.unreached(url)
        return (
            known
            or WHY["silent" if "Timeout" in str(error) or "time-out" in str(error) else "closed"]
        )

    async def unreached(self, url: str) -> Said | None:
        """Why no connection to the host of `url` comes about, TLS included. None where it does, and
        where a proxy stands before it: nothing is sent."""
        if self.outgoing.proxies.of(url) is not None:
            return None
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        context = None
        if parts.scheme == "https":
            context = self.trusted
        with _explained() as reason:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
        return WHY[reason[0]] if reason else None

    async def close(self) -> None:
        await self._way_out.aclose()


@contextmanager
def _explained() -> Iterator[list[str]]:
    """The key of `WHY` for a connection that fails inside; empty where it did not."""
    reason: list[str] = []
    try:
        yield reason
    except ssl.SSLCertVerificationError:
        reason.append("certificate")
    except ssl.SSLError:
        reason.append("tls")
    except TimeoutError:
        reason.append("silent")
    except ConnectionRefusedError:
        reason.append("refused")
    except OSError as error:
        # The resolver's own numbers are negative, or small and of its own error class.
        reason.append("dns" if "gaierror" in type(error).__name__ else "closed")


def own_url(settings: Settings) -> str:
    """Where the server listens, as this machine reaches it."""
    address = listened_on(settings)[0]
    host = str(address)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{url_host(host)}:{settings.server.port}"


def as_json(answer: Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        document = json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def nonce() -> str:
    return str(secrets.randbelow(10**9) + 10**9)
