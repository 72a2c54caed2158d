"""The status document: what a page may know of its scene, the same by socket and by poll."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from services.ids import UserId
from services.scenes.numbers import HASH
from services.scenes.states import FINAL, Scene, State
from services.tokens.claims import Claims, Purpose

FAILURES: Mapping[str, str] = {
    "try_again": "The login could not be finished in time; please try again.",
    "not_registered": "This person has no account here.",
    "hook_refused": "The site did not admit this person.",
    "banned": "The site keeps this person out.",
}
"""What `error.code` of a failed scene may be, and its sentence."""


Mint = Callable[[Scene, Purpose | None], str]
"""Signs a ticket of that purpose for the scene; None: its login token."""

RefreshToken = Callable[[Scene], str]
"""The refresh token of an authorized scene's session; empty where it began none."""


ScreenOf = Callable[[Mapping[str, str]], Mapping[str, Any] | None]
"""What the page of a public screen is told, by the details of its scene; None for nothing."""


def document(
    scene: Scene,
    now: float,
    mint: Mint,
    refresh_token: RefreshToken | None = None,
    screen_of: ScreenOf | None = None,
) -> dict[str, Any]:
    """The fields of one status document, each named here: what else a scene holds stays inside.

    Args:
        now: the time by which the remaining seconds are counted.
        mint: signs what a page in this state gets. Not called in other states.
        refresh_token: None where logins begin no sessions.
        screen_of: None where no operator cares for screens.
    """
    body: dict[str, Any] = {
        "type": "status",
        "scene_str": scene.scene_str,
        "state": scene.state.value,
        "seq": scene.seq,
        # Rounded up: 0 says that the state is over.
        "expires_in": 0 if scene.state in FINAL else max(0, math.ceil(scene.ends_at - now)),
    }
    if name := scene.details.get("name", ""):
        # Before the login, and on a public screen, others may be looking: only a first character.
        if scene.state in (State.AUTHORIZED, State.CONSUMED) and not of_kiosk(scene):
            body["user"] = {"name": name, "avatar": scene.details.get("avatar", "")}
        else:
            body["user"] = {"name": mask(name), "avatar": ""}
    if screen_of is not None and of_kiosk(scene) and (screen := screen_of(scene.details)):
        body["screen"] = screen
    if scene.state is State.AUTHORIZED and scene.claims is not None:
        if of_kiosk(scene):
            body["exchange_code"] = mint(scene, Purpose.EXCHANGE)
        elif of_authorization(scene):
            body["ticket"] = mint(scene, Purpose.AUTHORIZE)
        else:
            refresh = refresh_token(scene) if refresh_token is not None else ""
            body["login"] = login_document(scene, now, mint(scene, None), refresh)
    if scene.state is State.CONFIRMING:
        body["confirm"] = "number" if HASH in scene.details else "chat"
    if scene.state is State.REGISTERING:
        body["registration_token"] = mint(scene, Purpose.REGISTER)
        body["register_fields"] = scene.details.get("register_fields", "").split()
    if scene.state is State.FAILED:
        body["error"] = {"code": scene.error, "message": FAILURES.get(scene.error, "Login failed.")}
    return body


def mask(name: str) -> str:
    """A name as it may stand on a screen before its owner is logged in: its first character."""
    return f"{name[0]}**" if name else ""


def of_kiosk(scene: Scene) -> bool:
    """Whether the scene is shown on a public screen."""
    return "kiosk" in scene.details


def of_authorization(scene: Scene) -> bool:
    """Whether the scene is shown on a page of the OpenID Provider, which logs the browser in."""
    return "authorize" in scene.details


def login_document(scene: Scene, now: float, token: str, refresh_token: str = "") -> dict[str, Any]:
    """What a successful login brings: the token and whose it is."""
    assert scene.claims is not None and scene.user_id is not None
    return login_fields(scene.user_id, scene.claims, now, token, refresh_token)


def login_fields(
    user_id: UserId, claims: Claims, now: float, token: str, refresh_token: str = ""
) -> dict[str, Any]:
    """The fields of that document, for a login with or without a scene or a session."""
    fields = {
        "token": token,
        "token_type": "Bearer",
        "expires_in": max(0, claims.exp - int(now)),
        "user": {"id": user_id, "is_new": claims.is_new},
    }
    if refresh_token:
        fields["refresh_token"] = refresh_token
    return fields
