"""Flask: a decorator that gives the view the claims of a valid login token, as first argument.

scanpush = Scanpush("https://login.example.com")

@app.get("/me")
@token_required(scanpush)
def me(login: LoginClaims) -> dict[str, str]:
    return {"id": login.sub}
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from flask import abort, jsonify, make_response, request

from scanpush_client.bearer import bearer_token, refusal
from scanpush_client.client import Scanpush
from scanpush_client.tokens import InvalidToken, LoginClaims, Unavailable

P = ParamSpec("P")
R = TypeVar("R")


def token_required(
    scanpush: Scanpush,
) -> Callable[[Callable[Concatenate[LoginClaims, P], R]], Callable[P, R]]:
    """The decorator; it stands below the route's.

    Without a valid token the answer is 401, or 503 where keys cannot be had.
    """

    def decorate(view: Callable[Concatenate[LoginClaims, P], R]) -> Callable[P, R]:
        @wraps(view)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            token = bearer_token(request.headers.get("Authorization"))
            try:
                login = scanpush.verify(token)
            except (InvalidToken, Unavailable) as error:
                answer = refusal(error, token)
                response = make_response(jsonify(answer.document()), answer.status)
                response.headers.update(dict(answer.headers))
                abort(response)
            return view(login, *args, **kwargs)

        return checked

    return decorate
