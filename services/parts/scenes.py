"""What begins scenes, answers for them, and ends those that were left."""

from services.parts.ground import Ground
from services.parts.logins import Logins
from services.people.registration import RegistrationService
from services.push.capacity import AddressLimit
from services.push.service import PushService
from services.scenes.begin import BeginService
from services.scenes.callbacks import CallbackService
from services.scenes.chat import ChatService
from services.scenes.codes import SceneCodes
from services.scenes.kiosks import Kiosks
from services.scenes.login import LoginService
from services.scenes.polling import PollingService
from services.scenes.sweeper import Sweeper
from services.tokens.verifier import Verifier
from services.wechat.accounts import Accounts

POLLS_PER_SCENE = 5
"""Long polls at once from an address, for each scene it may begin in a minute: a scene lives three
minutes, and its page listens a little longer than it shows the code."""


def build_begin(ground: Ground, accounts: Accounts, codes: SceneCodes) -> BeginService:
    """Makes scenes, within the limits."""
    settings = ground.settings
    return BeginService(
        accounts,
        ground.backend.scenes,
        ground.limits,
        ground.clock,
        ground.metrics,
        codes,
        Kiosks(settings.kiosks, settings.kiosk_ttl_seconds),
        scene_ttl_seconds=settings.login.scene_ttl_seconds,
        poll_interval_seconds=settings.login.poll_interval_seconds,
    )


def build_callbacks(ground: Ground, chat: ChatService) -> CallbackService:
    """Answers WeChat in time."""
    return CallbackService(
        ground.backend.scenes,
        chat,
        ground.clock,
        ground.metrics,
        deadline_seconds=ground.settings.wechat.callback_deadline_seconds,
    )


def build_polling(ground: Ground, login: LoginService, push: PushService) -> PollingService:
    """Answers pages without a socket."""
    settings = ground.settings
    waits = POLLS_PER_SCENE * settings.limits.scenes_per_minute_per_address
    return PollingService(
        login,
        push.hub,
        ground.clock,
        AddressLimit(waits, ground.limits.group),
        ground.metrics,
        poll_interval_seconds=settings.login.poll_interval_seconds,
    )


def build_registration(
    ground: Ground, logins: Logins, accounts: Accounts, verifier: Verifier
) -> RegistrationService:
    """Takes in the form of people nobody knows yet."""
    return RegistrationService(
        logins.login,
        logins.admission,
        accounts,
        verifier,
        ground.clock,
        wanted=ground.settings.login.register_fields,
        hook=logins.hook,
    )


def build_sweeper(ground: Ground, accounts: Accounts, chat: ChatService) -> Sweeper:
    """Ends what nobody ended; looks later than any callback still works."""
    deadline = ground.settings.wechat.callback_deadline_seconds
    return Sweeper(ground.backend.scenes, accounts, chat, left_after_seconds=deadline + 1)
