"""The port to sessions. Backends: `store_sqlite`, `store_mongo`."""

from collections.abc import Sequence
from typing import Protocol

from services.ids import UserId
from services.sessions.states import Refresh, Refreshing, Session, SessionId


class SessionStore(Protocol):
    """Keeps sessions until they end.

    Guarantees every backend gives, held by tests/contracts/test_session_store.py:

    - **A session begins once**: `begin` again with the same id changes nothing, also after the
      session was refreshed.
    - **One successor**: of any number of `refresh` of one token at the same moment, on any number
      of nodes, one rotates and the others repeat or are refused; all see one current token.
    - **Ended is ended**: after `end`, `end_of_user` or a ban has returned, no refresh of any of
      these sessions, or of a session below them, succeeds; nor does one that began before on
      another node and was not done yet. A `begin` below an ended parent, or of a person who is
      banned or unknown, leaves no session.
    - **One person**: the sessions of two users who turned out to be one (`UserStore.join`) are
      found, listed and ended under either id.

    Whatever ends this process between two writes loses no session and leaves none half ended: one
    below another lives only as long as that one is there.

    Raises `errors.StoreUnavailable`, and only that; doing it again is then safe.
    """

    async def begin(self, session: Session, *, most_per_user: int, now: float) -> Sequence[Session]:
        """Keep a new session. Where the person then has more than `most_per_user` without a parent
        (0: any number), the longest unused of the others end, and are returned with all below."""

    async def get(self, session_id: SessionId, now: float) -> Session | None:
        """The session, if it has not ended."""

    async def refresh(self, asked: Refresh, now: float) -> Refreshing:
        """`states.refresh`, atomically; after ``REUSED`` the session (for a client's, its parent
        too) has ended."""

    async def confirm(self, session_id: SessionId, ends_at: float) -> None:
        """The login arrived where it was to go: the session does not end before `ends_at`."""

    async def prove(self, session_id: SessionId, auth_at: float, kind: str) -> None:
        """The person proved themself again: a later `auth_at` for a browser session, and how."""

    async def of_user(self, user_id: UserId, now: float) -> Sequence[Session]:
        """The person's sessions without a parent, the latest begun first."""

    async def below(self, parent: SessionId, now: float) -> Sequence[Session]:
        """The clients' sessions under a browser session."""

    async def end(self, session_id: SessionId) -> Sequence[Session]:
        """End a session and those below it. Returns those that ended by this call."""

    async def end_of_user(
        self, user_id: UserId, *, except_id: SessionId | None = None
    ) -> Sequence[Session]:
        """End all of a person's sessions, with those below them, but for `except_id` and its own.
        Returns those that ended by this call."""

    async def expire(self, now: float, limit: int) -> int:
        """Forget sessions whose time is up, at most `limit`. Returns how many were."""
