"""The one place where things are built and put together, and taken apart again."""

import asyncio
from dataclasses import dataclass

import httpx

from services.backends import Backend, OpenBackend, open_backend
from services.clock import Clock
from services.errors import StoreUnavailable
from services.metrics import Metrics
from services.nodes import Nodes
from services.operator import OperatorService
from services.origins import Origins
from services.parts.accounts import build_accounts
from services.parts.doors import Doors, build_codes, build_doors
from services.parts.ground import open_ground
from services.parts.logins import build_logins
from services.parts.operation import build_nodes, build_operator, build_shared_keys
from services.parts.push import build_push
from services.parts.scenes import (
    build_begin,
    build_callbacks,
    build_polling,
    build_registration,
    build_sweeper,
)
from services.people.registration import RegistrationService
from services.processes import Place
from services.push.service import PushService
from services.scenes.admission import AdmissionService
from services.scenes.begin import BeginService
from services.scenes.callbacks import CallbackService
from services.scenes.codes import SceneCodes
from services.scenes.login import LoginService
from services.scenes.pictures import Pictures
from services.scenes.polling import PollingService
from services.scenes.sweeper import Sweeper
from services.settings import Settings
from services.siblings import Siblings
from services.simulation import Simulation
from services.supervisor import Supervisor
from services.tokens.issuer import Issuer
from services.tokens.shared_keys import SharedKeys
from services.tokens.verifier import Verifier
from services.wechat.accounts import Accounts

STORES_SECONDS = 2
"""How long /readyz waits for the stores."""


@dataclass
class Container:
    """Everything that was built, by role. Handlers and the server read it; nobody else does."""

    settings: Settings
    node: str
    clock: Clock
    supervisor: Supervisor
    metrics: Metrics
    origins: Origins
    accounts: Accounts
    http: httpx.AsyncClient
    backend: Backend
    issuer: Issuer
    shared_keys: SharedKeys | None
    verifier: Verifier
    login: LoginService
    begin: BeginService
    scene_codes: SceneCodes
    doors: Doors
    admission: AdmissionService
    registration: RegistrationService
    operator: OperatorService | None
    nodes: Nodes
    callbacks: CallbackService
    polling: PollingService
    pictures: Pictures
    sweeper: Sweeper
    push: PushService
    simulation: Simulation | None
    siblings: Siblings | None
    own_url: str

    async def start(self) -> None:
        """Begin to push and to sweep."""
        self.metrics.count_long_polls(lambda: self.push.hub.waiting)
        if self.backend.clock is not None:
            self.supervisor.spawn(self.backend.clock.learn_forever(), name="store's clock")
        if self.shared_keys is not None:
            await self.shared_keys.introduce()
            self.supervisor.spawn(self.shared_keys.exchange_forever(), name="shared keys")
        await self.push.start()
        self.supervisor.spawn(self.sweeper.expire_forever(), name="expire scenes")
        self.supervisor.spawn(self.sweeper.finish_forever(), name="finish left logins")
        self.supervisor.spawn(self.nodes.tell_forever(), name="tell the other nodes")

    async def close(self) -> None:
        """End everything, in the order that loses nothing. Safe after a failed start."""
        await self.push.close()
        await self.supervisor.close()
        self.pictures.close()
        await self.http.aclose()
        if self.siblings is not None:
            await self.siblings.close()
        if self.simulation is not None:
            await self.simulation.stop()
        await self.backend.close()

    async def check_stores(self) -> None:
        """Raise `StoreUnavailable` unless the stores and the broker answer now."""
        try:
            async with asyncio.timeout(STORES_SECONDS):
                await self.backend.scenes.ping()
                await self.backend.users.ping()
                await self.backend.broker.ping()
        except TimeoutError:
            raise StoreUnavailable("a store does not answer") from None


async def build_container(
    settings: Settings,
    *,
    host: str,
    port: int,
    clock: Clock | None = None,
    make_backend: OpenBackend = open_backend,
    place: Place | None = None,
) -> Container:
    """Build everything for a server that listens at `host` and `port`.

    Call it on the running event loop. What it opened, `Container.close` closes.

    Args:
        place: this process's, where several serve one port.
        make_backend: a test puts stores that fail on command in the real ones' place.

    Raises:
        SettingsError: a file, key or store that the settings name cannot be used.
        StoreUnavailable: a store does not answer.
    """
    ground = await open_ground(settings, host, port, clock, make_backend)
    settings = ground.settings
    logins = build_logins(ground)
    push = build_push(ground, logins.login)
    accounts = build_accounts(ground)
    codes = build_codes(ground, logins.typed_codes)
    nodes = build_nodes(ground, push)
    shared_keys = build_shared_keys(ground)
    verifier = Verifier(ground.issuer, shared_keys)
    return Container(
        settings=settings,
        node=ground.node,
        clock=ground.clock,
        supervisor=ground.supervisor,
        metrics=ground.metrics,
        origins=ground.origins,
        accounts=accounts,
        http=ground.http,
        backend=ground.backend,
        issuer=ground.issuer,
        shared_keys=shared_keys,
        verifier=verifier,
        login=logins.login,
        begin=build_begin(ground, accounts, codes),
        scene_codes=codes,
        doors=build_doors(ground, logins, accounts),
        admission=logins.admission,
        registration=build_registration(ground, logins, accounts, verifier),
        operator=build_operator(ground, accounts, nodes),
        nodes=nodes,
        callbacks=build_callbacks(ground, logins.chat),
        polling=build_polling(ground, logins.login, push),
        pictures=Pictures(),
        sweeper=build_sweeper(ground, accounts, logins.chat),
        push=push,
        simulation=ground.simulation,
        siblings=None if place is None else Siblings(place),
        own_url=ground.own_url,
    )
