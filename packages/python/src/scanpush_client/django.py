"""Django: a decorator that gives the view the claims of a valid login token, after the request.

scanpush = Scanpush("https://login.example.com")

@token_required(scanpush)
def me(request: HttpRequest, login: LoginClaims) -> JsonResponse:
    return JsonResponse({"id": login.sub})
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, JsonResponse

from scanpush_client.bearer import bearer_token, refusal
from scanpush_client.client import AsyncScanpush, Scanpush
from scanpush_client.tokens import InvalidToken, LoginClaims, Unavailable

View = Callable[..., Any]


def token_required(scanpush: Scanpush | AsyncScanpush) -> Callable[[View], View]:
    """The decorator, for functions and, by Django's `method_decorator`, for ``dispatch``.

    A view that is a coroutine takes an `AsyncScanpush`, every other one a `Scanpush`; a mix is a
    TypeError where it is decorated. Without a valid token the answer is 401, or 503 where keys
    cannot be had. Such a view is exempt from CSRF tokens: it is let in by a header that no other
    site's form or script can set, not by a cookie that browsers send along.
    """

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):
            if not isinstance(scanpush, AsyncScanpush):
                raise TypeError("an asynchronous view needs an AsyncScanpush")
            checked = _asynchronous(view, scanpush)
        else:
            if not isinstance(scanpush, Scanpush):
                raise TypeError("a synchronous view needs a Scanpush")
            checked = _synchronous(view, scanpush)
        setattr(checked, "csrf_exempt", True)
        return checked

    return decorate


def _synchronous(view: View, scanpush: Scanpush) -> View:
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        token = bearer_token(request.headers.get("Authorization"))
        try:
            login: LoginClaims = scanpush.verify(token)
        except (InvalidToken, Unavailable) as error:
            return _refused(error, token)
        return view(request, login, *args, **kwargs)

    return checked


def _asynchronous(view: View, scanpush: AsyncScanpush) -> View:
    @wraps(view)
    async def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        token = bearer_token(request.headers.get("Authorization"))
        try:
            login: LoginClaims = await scanpush.verify(token)
        except (InvalidToken, Unavailable) as error:
            return _refused(error, token)
        return await view(request, login, *args, **kwargs)

    return checked


def _refused(error: InvalidToken | Unavailable, token: str) -> Any:
    answer = refusal(error, token)
    return JsonResponse(answer.document(), status=answer.status, headers=dict(answer.headers))
