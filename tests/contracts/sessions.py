"""A session for the tests of its stores."""

from typing import Any

from services.ids import UserId
from services.sessions.states import Session
from services.sessions.tokens import new_session_id

LIFE = 86400.0


def a_session(user_id: str, now: float, **fields: Any) -> Session:
    """A session that began now, of a login on no client's behalf."""
    session = Session(
        new_session_id(),
        UserId(user_id),
        client="",
        parent=None,
        account="default",
        kind="official_account",
        label="Chrome, Windows",
        amr="wechat",
        scope="",
        begun_at=now,
        auth_at=now,
        used_at=now,
        ends_at=now + LIFE,
        generation=1,
        token_hash=b"x" * 32,
    )
    return session._replace(**fields)
