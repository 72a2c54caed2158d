"""A login without a scene: whoever asks gets the document at once, for nobody else watches."""

import secrets
import uuid
from typing import Any

from services.clock import Clock
from services.ids import SceneStr
from services.metrics import Metrics
from services.people.store import Identity, UserStore
from services.scenes import status
from services.scenes.states import Claims
from services.tokens.issuer import Issuer


class DirectLogin:
    """Finds or registers a person and signs a token, in one step."""

    def __init__(
        self,
        users: UserStore,
        issuer: Issuer,
        clock: Clock,
        metrics: Metrics,
        *,
        amr: tuple[str, ...],
        token_ttl_seconds: int,
    ) -> None:
        self._users = users
        self._issuer = issuer
        self._clock = clock
        self._metrics = metrics
        self._amr = amr
        self._token_ttl_seconds = token_ttl_seconds

    async def log_in(self, identity: Identity, account: str) -> dict[str, Any]:
        """The ``login`` document of design 4.3. Raises `StoreUnavailable`."""
        now = self._clock.now()
        # Each call is a login of its own, as each scene is.
        once = SceneStr(str(uuid.uuid4()))
        login = await self._users.login(identity, once, account, now)
        self._metrics.login(login.is_new)
        end = int(now) + self._token_ttl_seconds
        claims = Claims(secrets.token_urlsafe(16), int(now), end, login.is_new)
        token = self._issuer.mint(
            subject=login.user.id, claims=claims, account=account, amr=self._amr
        )
        return status.login_fields(login.user.id, claims, now, token)
