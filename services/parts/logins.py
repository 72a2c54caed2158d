"""The use cases of a login: who may log in, what the chat says, and how a scene ends."""

from dataclasses import dataclass

from services.hooks import Hook
from services.parts.ground import Ground
from services.people.unionids import UnionIds
from services.scenes.admission import AdmissionService
from services.scenes.chat import ChatService
from services.scenes.login import LoginService
from services.scenes.open_scenes import OpenScenes
from services.scenes.typed_codes import TypedCodes


@dataclass(frozen=True, slots=True)
class Logins:
    """What all doors share on the way from a scan to a login."""

    login: LoginService
    hook: Hook | None
    admission: AdmissionService
    typed_codes: TypedCodes
    chat: ChatService


def build_logins(ground: Ground) -> Logins:
    """The login itself, admission to it, and the chat."""
    settings, scenes, users = ground.settings, ground.backend.scenes, ground.backend.users
    login = build_login(ground)
    hook = build_hook(ground)
    unionids = UnionIds(users, ground.clock, ground.supervisor)
    admission = AdmissionService(scenes, users, unionids, login, settings.login, ground.clock, hook)
    typed_codes = TypedCodes(scenes, settings.login.code_length, settings.login.code_alphabet)
    chat = ChatService(
        scenes,
        users,
        login,
        admission,
        typed_codes,
        OpenScenes(scenes, login, admission),
        site_name=ground.site_name,
        kiosk_labels=ground.kiosk_labels,
    )
    return Logins(login, hook, admission, typed_codes, chat)


def build_login(ground: Ground) -> LoginService:
    """Moves scenes, and signs what is delivered."""
    settings = ground.settings
    return LoginService(
        ground.backend.scenes,
        ground.backend.users,
        ground.issuer,
        ground.backend.whole_login,
        ground.clock,
        ground.metrics,
        node=ground.node,
        amr=ground.amr,
        collect_ttl_seconds=settings.login.collect_ttl_seconds,
        token_ttl_seconds=settings.jwt.ttl_seconds,
        kiosks=bool(settings.kiosks),
        timeline=ground.timeline,
    )


def build_hook(ground: Ground) -> Hook | None:
    """The operator's hook, where one is configured."""
    login = ground.settings.login
    secret = login.hook_secret.get_secret_value()
    if not login.hook_url:
        return None
    return Hook(ground.http, ground.supervisor, ground.clock, login.hook_url, secret)
