"""FastAPI: a dependency that gives the route the claims of a valid login token.

scanpush = AsyncScanpush("https://login.example.com")
LoggedIn = Annotated[LoginClaims, Depends(logged_in(scanpush))]

@app.get("/me")
async def me(login: LoggedIn) -> dict[str, str]:
    return {"id": login.sub}
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from scanpush_client.bearer import refusal
from scanpush_client.client import AsyncScanpush
from scanpush_client.tokens import InvalidToken, LoginClaims, Unavailable

_BEARER = HTTPBearer(
    auto_error=False, bearerFormat="JWT", scheme_name="scanpush", description="A login token."
)


def logged_in(scanpush: AsyncScanpush) -> Callable[..., Awaitable[LoginClaims]]:
    """The dependency. Without a valid token the answer is 401, or 503 where keys cannot be had.

    The OpenAPI document of the application shows its routes as protected by a Bearer token.
    """

    async def dependency(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> LoginClaims:
        token = credentials.credentials if credentials is not None else ""
        try:
            return await scanpush.verify(token)
        except (InvalidToken, Unavailable) as error:
            answer = refusal(error, token)
            raise HTTPException(answer.status, answer.message, dict(answer.headers)) from None

    return dependency
