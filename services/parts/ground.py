"""What every other part stands on: settings, clock, stores, tokens, limits and measurements."""

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from services.backends import Backend, OpenBackend
from services.clock import Clock, SystemClock
from services.errors import SettingsError
from services.metrics import Metrics
from services.origins import Origins
from services.rate_limits import RateLimits
from services.scenes.recorded import RecordedScenes, RecordedWholeLogin
from services.settings import Settings, simulated
from services.settings_fields import url_host
from services.simulation import Simulation
from services.supervisor import Supervisor
from services.timeline import Timeline
from services.tokens.issuer import Issuer
from services.tokens.keys import open_keys
from services.wechat.client import make_client


@dataclass(frozen=True, slots=True)
class Ground:
    """Made first. `settings` are those in force: while WeChat is simulated, they name it."""

    settings: Settings
    node: str
    clock: Clock
    backend: Backend
    supervisor: Supervisor
    metrics: Metrics
    origins: Origins
    limits: RateLimits
    http: httpx.AsyncClient
    issuer: Issuer
    timeline: Timeline | None
    simulation: Simulation | None
    own_url: str

    @property
    def amr(self) -> tuple[str, ...]:
        """How people are known here, for the tokens' claim of that name."""
        return ("simulated",) if self.settings.wechat.is_simulated else ("wechat",)

    @property
    def site_name(self) -> str:
        """What people are told they log in to."""
        return self.settings.wechat.site_name or urlsplit(self.own_url).netloc

    @property
    def kiosk_labels(self) -> dict[str, str]:
        """What the operator calls its screens."""
        return {name: kiosk.label for name, kiosk in self.settings.kiosks.items()}


async def open_ground(
    settings: Settings, host: str, port: int, clock: Clock | None, make_backend: OpenBackend
) -> Ground:
    """Open the stores and the keys, and whatever needs nothing else.

    Raises:
        SettingsError: a file, key or store that the settings name cannot be used.
        StoreUnavailable: a store does not answer.
    """
    clock = clock or SystemClock()
    node = secrets.token_hex(8)
    backend = await make_backend(settings, clock, node)
    try:
        keys = open_keys(settings.jwt)
    except SettingsError:
        await backend.close()
        raise
    clock = backend.clock or clock
    timeline = record(backend, clock) if settings.operator.token else None
    metrics = Metrics(clock.now)
    simulation = None
    if simulated(settings):
        simulation = Simulation(settings, f"http://{_reachable(host)}:{port}")
        settings = simulation.settings
    return Ground(
        settings=settings,
        node=node,
        clock=clock,
        backend=backend,
        supervisor=Supervisor(),
        metrics=metrics,
        origins=Origins(settings.server.public_url, list(settings.server.allowed_origins)),
        limits=RateLimits(settings.limits, backend.windows, metrics.rate_limited),
        http=make_client(settings.wechat.api_base, _addresses_of_the_operator(settings)),
        issuer=Issuer(keys, issuer=settings.token_issuer, audience=settings.jwt.audience),
        timeline=timeline,
        simulation=simulation,
        own_url=settings.server.public_url or f"http://{url_host(host)}:{port}",
    )


def _addresses_of_the_operator(settings: Settings) -> list[str]:
    forwards = (account.forward_url for account in settings.wechat.accounts.values())
    return [url for url in (settings.login.hook_url, *forwards) if url]


def record(backend: Backend, clock: Clock) -> Timeline:
    """Have what happens to scenes written down from now on."""
    timeline = Timeline(clock)
    backend.scenes = RecordedScenes(backend.scenes, timeline)
    if backend.whole_login is not None:
        backend.whole_login = RecordedWholeLogin(backend.whole_login, timeline)
    return timeline


def _reachable(host: str) -> str:
    """Where a listener on all addresses is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, url_host(host))
