"""Everything the simulated WeChat is made of, built once and given to every handler."""

import random

from services.tasks import Supervisor
from simulator.authorisations import WebsiteLogins
from simulator.clock import TurnableClock
from simulator.codes import Code, Codes
from simulator.config import SimulatedAccount, SimulatedApp, SimulatorConfig
from simulator.credentials import AccessTokens, Grants, UserTokens
from simulator.faults import Faults
from simulator.mini_programs import MiniPrograms
from simulator.notices import Notices
from simulator.people import People
from simulator.phones import Chats, Phones
from simulator.pushes import Pusher
from simulator.quotas import Quotas


class World:
    """The parts of one simulated WeChat.

    `phone_base` is where its QR codes lead; in `snapshot_accounts` are those whose web pages
    WeChat only shows as a snapshot, with a virtual person.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.clock = TurnableClock(config.clock)
        # Not to be guessed, unless the config asks for ids that repeat.
        self.rng = random.SystemRandom() if config.seed is None else random.Random(config.seed)
        self.supervisor = Supervisor()
        self.accounts = {account.app_id: account for account in config.accounts}
        self.mini_program_apps = {app.app_id: app for app in config.mini_programs}
        self.websites = {app.app_id: app for app in config.websites}
        self.people = People()
        self.codes = Codes(self.clock, self.rng)
        self.chats = Chats(self.clock)
        self.tokens = AccessTokens(self.clock, self.rng)
        self.quotas = Quotas(config.quotas, self.clock)
        self.faults = Faults()
        self.pusher = Pusher(config, self.clock, self.rng)
        self.phones = Phones(
            self.accounts,
            self.people,
            self.codes,
            self.chats,
            self.pusher,
            self.clock,
            self.rng,
            self.supervisor,
        )
        self.grants = Grants(self.clock, self.rng)
        self.user_tokens = UserTokens(self.clock, self.rng)
        self.website_logins = WebsiteLogins(self.clock, self.rng)
        self.mini_programs = MiniPrograms(self.mini_program_apps, self.grants)
        self.notices = Notices(self.people, self.clock, self.rng)
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

    def code_url(self, code: Code) -> str:
        """What the picture of this code contains: the page of the simulated phone."""
        return f"{self.phone_base}/q/{code.code_id}"

    async def close(self) -> None:
        # Its tasks are pushes, which use the pusher's connections.
        await self.supervisor.close()
        await self.pusher.close()
