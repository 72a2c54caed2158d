"""The rows of docs/security.md, and which tries belong to each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from attack import scenes, tokens, web, wire
from attack.target import Broken, NotApplicable, Target

Try = Callable[[Target], Awaitable[None]]
"""Returns where the threat is held; raises `Broken` or `NotApplicable` otherwise."""

PHONE = "needs a person who scans"
SIGNED = "needs a push that WeChat has signed"


@dataclass(frozen=True, slots=True)
class Row:
    """One threat. Without tries, `why_not` says why it cannot be tried from outside."""

    id: str
    threat: str
    tries: tuple[Try, ...] = ()
    why_not: str = ""


ROWS: tuple[Row, ...] = (
    Row("C1", "another person sees the code", (scenes.watch_token, scenes.socket_token)),
    Row("C2", "WeChat's ticket as a key", (scenes.ticket,)),
    Row("C3", "QRLJacking", why_not="no server can close it: docs/security.md"),
    Row("C4", "a forged callback", (wire.forged_callbacks, wire.forged_configuration)),
    Row("C5", "a recorded callback with another body", why_not=SIGNED),
    Row("C6", "WeChat delivers twice", why_not=SIGNED),
    Row("C7", "the token collected twice", why_not=PHONE),
    Row("C8", "two browsers on one scene", (scenes.two_sockets,)),
    Row("C9", "a second person scans", why_not=PHONE),
    Row("C10", "an event after the end", (scenes.after_the_end,)),
    Row("C11", "login CSRF", (web.invented_states, web.begin_cookie, web.foreign_consent)),
    Row("C12", "requests of foreign pages", (web.foreign_sockets, web.foreign_posts, web.cors)),
    Row("C13", "a stolen token", (tokens.refresh_tokens,)),
    Row("C14", "forged tokens", (tokens.forged_tokens,)),
    Row("C15", "weak secrets", (tokens.well_known_secrets, wire.well_known_callback_tokens)),
    Row("C16", "XML bombs", (wire.xml_bombs,)),
    Row("C17", "oversize and floods", (wire.oversize, wire.flood, wire.broken_frames)),
    Row("C18", "burning WeChat's quota", why_not="would use up the limit of this address"),
    Row("C19", "guessing scenes", (scenes.enumeration, scenes.ids)),
    Row("C20", "identity by parameter", (scenes.identity_by_parameter,)),
    Row("C21", "take-over by linking", why_not=PHONE),
    Row("C22", "misuse of WeChat's codes", (web.mini_program_codes,)),
    Row("C23", "secrets in answers", (web.echoes, web.caches)),
    Row("C24", "open redirects", (web.open_redirects,)),
    Row("C25", "spoofed proxy headers", (web.proxy_headers,)),
    Row("C26", "markup by a parameter", (web.policies, web.reflected)),
    Row("C27", "objects in place of texts", (scenes.operators,)),
    Row("C28", "unfollow while a login is open", why_not=PHONE),
    Row("C29", "WeChat slow or unreachable", why_not="needs WeChat's side"),
    Row("C30", "restarts and clocks", why_not="would need to stop the server"),
    Row("C31", "tossed cookies", (web.tossed_cookies,)),
    Row("C32", "descriptors used up", why_not="would keep others out"),
    Row("C33", "served after the client has gone", (wire.gone_client,)),
    Row("C34", "a verified push refused for its text", why_not=SIGNED),
    Row("C35", "the number guessed", (scenes.numbers,)),
    Row(
        "C36",
        "misuse of OpenID Connect",
        (tokens.discovery, tokens.strange_clients, tokens.strange_redirects, tokens.user_codes),
    ),
)


class State(StrEnum):
    """What came of a row."""

    HELD = "held"
    BROKEN = "broken"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row, tried. `request` is the exact request that broke it."""

    row: str
    threat: str
    state: State
    note: str = ""
    request: str = ""


async def look(row: Row, target: Target) -> Finding:
    """Try one row.

    Raises:
        CannotLook: the server does not answer.
    """
    if row.why_not:
        return Finding(row.id, row.threat, State.NOT_APPLICABLE, row.why_not)
    reasons = []
    for attempt in row.tries:
        try:
            await attempt(target)
        except Broken as broken:
            return Finding(row.id, row.threat, State.BROKEN, broken.what, broken.request)
        except NotApplicable as reason:
            reasons.append(str(reason))
    # A row that was tried in part is held as far as it applies; the note says what does not.
    state = State.NOT_APPLICABLE if len(reasons) == len(row.tries) else State.HELD
    return Finding(row.id, row.threat, state, "; ".join(dict.fromkeys(reasons)))
