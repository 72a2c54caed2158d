"""Registration by form (policy ``ask``): a new person fills it in, and the operator may refuse.

The scene waits in ``registering`` with what its login kind learned of the person. The page that has
the registration token of its status document sends the form, which `RegistrationService` checks
(`checked_fields`), shows to the operator's hook, and turns into a login. A phone number or e-mail
address that a person types is not verified: it is kept with the user and never links two people.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.clock import Clock
from services.errors import ApiError, HookUnavailable, TokenError, TokenExpired
from services.hooks import Decision, Hook
from services.ids import AppId, UnionId
from services.people.store import Identity, Profile
from services.scenes.login import BANNED, COLLECTABLE, LoginService
from services.scenes.policy import LoginPolicy, Visit
from services.scenes.states import Move, Scene, State
from services.scenes.store import SceneStore
from services.tokens.claims import Purpose
from services.tokens.verifier import Verifier
from services.wechat.accounts import Accounts

log = logging.getLogger("scanpush.people")

HOOK_REFUSED = "hook_refused"
"""The `error` of a scene whose person the operator's hook did not admit."""

RETRY_SECONDS = 5
"""After which a form may be sent again that the hook did not answer (Retry-After)."""


class RegistrationService:
    """Finishes scenes that wait in ``registering``.

    Args:
        wanted: the configured ``login.register_fields``.
        hook: the operator's; None where none is configured.
    """

    def __init__(
        self,
        scenes: SceneStore,
        login: LoginService,
        policy: LoginPolicy,
        accounts: Accounts,
        verifier: Verifier,
        clock: Clock,
        *,
        wanted: Sequence[str],
        hook: Hook | None,
    ) -> None:
        self._scenes = scenes
        self._login = login
        self._policy = policy
        self._accounts = accounts
        self._verifier = verifier
        self._clock = clock
        self._wanted = wanted
        self._hook = hook

    async def register(self, registration_token: str, body: Mapping[str, Any]) -> State:
        """Log the person in, or refuse them. Returns what the scene came to: ``authorized`` (or
        already ``consumed``), or ``failed``.

        Doing it again ends in the same state, also at the same time on another node; what was
        typed the first time stays.

        Raises:
            ApiError: ``unauthorized``: not a token of this server; ``gone``: the scene is over;
                ``bad_request``: a field; ``overloaded`` (503): the hook is down, nothing has
                changed and the person can send the form again.
        """
        typed = checked_fields(body, self._wanted)
        scene = await self._scene(registration_token)
        if scene.state is not State.REGISTERING:
            return _settled(scene)
        # Two forms at the same moment may both ask the hook; the store lets one move through.
        decision = await self._decision(scene, typed)
        if decision.approved:
            step = (await self._policy.enrol(self._visit(scene, typed), decision.user_id)).step
        else:
            sources = frozenset({State.REGISTERING})
            refusal = Move(State.FAILED, sources, openid=scene.openid, error=HOOK_REFUSED)
            step = await self._login.end(scene.scene_str, refusal)
        return _settled(step.scene)

    async def _scene(self, registration_token: str) -> Scene:
        try:
            ticket = await self._verifier.verify_ticket(
                Purpose.REGISTER, registration_token, self._clock.now()
            )
        except TokenExpired:
            raise _gone() from None
        except TokenError:
            raise ApiError("unauthorized", "The registration token is not valid.") from None
        scene = await self._scenes.get(ticket.scene_str)
        if scene is None:
            raise _gone()
        return scene

    async def _decision(self, scene: Scene, typed: Mapping[str, str]) -> Decision:
        if self._hook is None:
            return Decision(approved=True)
        try:
            return await self._hook.decide(
                {
                    "type": "registration",
                    "scene_str": scene.scene_str,
                    "account": scene.account,
                    "kind": scene.kind.value,
                    "kiosk": scene.details.get("kiosk", ""),
                    "app_id": scene.details.get("app_id", ""),
                    "openid": scene.openid,
                    "unionid": scene.details.get("unionid", ""),
                    "fields": dict(typed),
                }
            )
        except HookUnavailable as error:
            # The scene stays as it is, so that the form can be sent again.
            log.warning(
                "no person is admitted, as the hook does not answer: %s",
                error,
                extra={"scene_str": scene.scene_str},
            )
            raise ApiError(
                "overloaded",
                "The site cannot answer just now; please send it again.",
                retry_after=RETRY_SECONDS,
            ) from None

    def _visit(self, scene: Scene, typed: Mapping[str, str]) -> Visit:
        """The person as the login kind knew them, with what they have typed."""
        assert scene.openid is not None
        known = scene.details
        unionid = known.get("unionid", "")
        return Visit(
            self._accounts.named(scene.account),
            scene,
            Identity(
                AppId(known.get("app_id", "")), scene.openid, UnionId(unionid) if unionid else None
            ),
            profile=Profile(
                name=typed.get("name") or known.get("nickname", ""),
                avatar=known.get("headimgurl", ""),
                phone=typed.get("phone", ""),
                email=typed.get("email", ""),
            ),
        )


def _settled(scene: Scene | None) -> State:
    """The outcome of a registration that is over, by this form or by an earlier one."""
    if scene is None:
        raise _gone()
    refused = scene.state is State.FAILED and scene.error in (HOOK_REFUSED, BANNED)
    if scene.state not in COLLECTABLE and not refused:
        raise _gone()
    return scene.state


def _gone() -> ApiError:
    return ApiError("gone", "This registration is over; please begin again.")


# The form.

MOST_NAME = 64
MOST_EMAIL = 254
"""RFC 5321, section 4.5.3.1.3: a path has at most 256 octets, two of them the angle brackets."""

_JOINER = "\u200d"
"""Joins emoji into one; the only invisible character (Unicode Cf) a name may hold. The others
change how their neighbours are shown."""

# Unicode's categories of control, format, surrogate, private and unassigned characters, and of
# separators of lines and paragraphs.
_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PHONE = re.compile(r"\+?[0-9]{5,15}")
_EMAIL = re.compile(
    r"[^\s@<>()\[\]\\,:;\"\x00-\x1f\x7f]{1,64}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{1,62}"
)


def checked_name(text: str) -> str | None:
    """A name as it is kept: blanks folded, 1 to 64 characters, at least one of them visible; None
    when it is no such thing or holds characters that change how others are shown."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if any(c != _JOINER and unicodedata.category(c) in _UNFIT for c in name):
        return None
    visible = any(unicodedata.category(c)[0] in "LNSP" for c in name)
    return name if visible and len(name) <= MOST_NAME else None


def checked_phone(text: str) -> str | None:
    """A telephone number without its decoration: at most 15 digits (ITU-T E.164)."""
    number = re.sub(r"[\s().\-]", "", unicodedata.normalize("NFKC", text))
    return number if _PHONE.fullmatch(number) else None


def checked_email(text: str) -> str | None:
    """An address of the usual shape. Whether it exists, only a message to it can tell."""
    address = text.strip()
    return address if len(address) <= MOST_EMAIL and _EMAIL.fullmatch(address) else None


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "name": checked_name,
    "phone": checked_phone,
    "email": checked_email,
}
_EXPECTED: Mapping[str, str] = {
    "name": f"name must be a text of 1 to {MOST_NAME} printable characters.",
    "phone": "phone must be a telephone number of 5 to 15 digits.",
    "email": "email must be an e-mail address.",
}

MOST_TYPED = 320
"""Characters of a field; longer input is not even looked at."""


def checked_fields(body: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, str]:
    """The wanted fields as they are kept; all of them must be there. Others are left alone.

    Raises:
        ApiError: ``bad_request`` naming the first field at fault.
    """
    kept = {}
    for field in wanted:
        typed = body.get(field)
        value = None
        if isinstance(typed, str) and len(typed) <= MOST_TYPED:
            value = _CHECKS[field](typed)
        if value is None:
            raise ApiError("bad_request", _EXPECTED[field], field=field)
        kept[field] = value
    return kept
