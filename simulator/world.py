"""Everything the simulated WeChat is made of, built once and given to every handler."""

import random
from dataclasses import replace
from typing import TypeVar

from services.tasks import Supervisor
from simulator.authorisations import WebsiteLogins
from simulator.clock import TurnableClock
from simulator.codes import Code, Codes, ShortLinks
from simulator.config import SimulatedAccount, SimulatedApp, SimulatorConfig
from simulator.conversations import Chats, Conversations
from simulator.credentials import AccessTokens, Grants, Tickets, UserTokens
from simulator.faults import Faults
from simulator.followers import Tags
from simulator.media import Media
from simulator.menus import Menus
from simulator.mini_programs import MiniPrograms
from simulator.notices import Notices
from simulator.people import People
from simulator.phones import Phones
from simulator.pushes import Pusher
from simulator.quotas import Quotas
from simulator.state import State

App = TypeVar("App", SimulatedAccount, SimulatedApp)


class World:
    """The parts of one simulated WeChat.

    `phone_base` is where its QR codes lead; in `snapshot_accounts` are those whose web pages
    WeChat only shows as a snapshot, with a virtual person.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.state = State(config.state_file)
        self.config = config = _with_kept_secrets(config, self.state)
        self.clock = TurnableClock(config.clock)
        self.rng = _random(config.seed, self.state)
        self.supervisor = Supervisor()
        self.accounts = {account.app_id: account for account in config.accounts}
        self.mini_program_apps = {app.app_id: app for app in config.mini_programs}
        self.websites = {app.app_id: app for app in config.websites}
        self.people = People(self.state)
        self.codes = Codes(self.clock, self.rng, self.state)
        self.short_links = ShortLinks(self.clock, self.rng, self.state)
        self.chats = Chats(self.clock)
        self.tokens = AccessTokens(self.clock, self.rng, self.state)
        self.tickets = Tickets(self.clock, self.rng)
        self.quotas = Quotas(config.quotas, self.clock)
        self.faults = Faults()
        self.pusher = Pusher(config, self.clock, self.rng)
        self.media = Media(self.clock, self.rng, self.state)
        self.conversations = Conversations(self.people, self.media, self.chats, self.clock)
        self.phones = Phones(
            self.accounts,
            self.people,
            self.codes,
            self.chats,
            self.conversations,
            self.pusher,
            self.clock,
            self.rng,
            self.supervisor,
        )
        self.grants = Grants(self.clock, self.rng)
        self.user_tokens = UserTokens(self.clock, self.rng)
        self.website_logins = WebsiteLogins(self.clock, self.rng, self.websites, self.state)
        self.mini_programs = MiniPrograms(self.mini_program_apps, self.grants)
        self.notices = Notices(self.people, self.clock, self.rng)
        self.menus = Menus(self.state)
        self.tags = Tags(self.people, self.state)
        self.snapshot_accounts: set[str] = set()
        # Known once a listener has its address; no code can be made before.
        self.phone_base = ""

    def app(self, app_id: str) -> SimulatedAccount | SimulatedApp | None:
        """The account, mini program or website app of this app_id."""
        return (
            self.accounts.get(app_id)
            or self.mini_program_apps.get(app_id)
            or self.websites.get(app_id)
        )

    def change(self, app_id: str, **values: object) -> None:
        """Give fields of an account or app other values, as its console does.

        Raises:
            ValueError: there is no such app, or a value is none for its field.
            TypeError: there is no such field.
            CryptoError: the key is none.
        """
        app = self.app(app_id)
        if app is None:
            raise ValueError("unknown app_id")
        changed: SimulatedAccount | SimulatedApp = replace(app, **values)  # type: ignore[arg-type]
        if isinstance(changed, SimulatedAccount):
            self.pusher.know(changed)
            self.accounts[app_id] = changed
        elif app_id in self.mini_program_apps:
            self.mini_program_apps[app_id] = changed
        else:
            self.websites[app_id] = changed
        self.state.put("secrets", app_id, _secrets_of(changed))

    def code_url(self, code: Code) -> str:
        """What the picture of this code contains: the page of the simulated phone."""
        return f"{self.phone_base}/q/{code.code_id}"

    async def close(self) -> None:
        # Its tasks are pushes, which use the pusher's connections.
        await self.supervisor.close()
        await self.pusher.close()
        self.state.close()


def _random(seed: int | None, state: State) -> random.Random:
    """What ids are made of: not to be guessed, unless the config asks for ids that repeat."""
    starts = state.documents("starts").get("starts", {"count": 0})["count"]
    state.put("starts", "starts", {"count": starts + 1})
    if seed is None:
        return random.SystemRandom()
    # The ids of an earlier start are still in use: the same ones again would be taken for those.
    return random.Random(f"{seed} {starts}" if starts else seed)


def _with_kept_secrets(config: SimulatorConfig, state: State) -> SimulatorConfig:
    """The secrets of the earlier start, where any are kept and no seed decides them."""
    kept = state.documents("secrets") if config.seed is None else {}

    def restored(app: App) -> App:
        if kept_ones := kept.get(app.app_id):
            return replace(app, **kept_ones)
        state.put("secrets", app.app_id, _secrets_of(app))
        return app

    return replace(
        config,
        accounts=tuple(restored(account) for account in config.accounts),
        mini_programs=tuple(restored(app) for app in config.mini_programs),
        websites=tuple(restored(app) for app in config.websites),
    )


def _secrets_of(app: SimulatedAccount | SimulatedApp) -> dict[str, str]:
    names = ("app_secret", "callback_token", "encoding_aes_key")
    return {name: getattr(app, name) for name in names if hasattr(app, name)}
