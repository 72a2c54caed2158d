"""What the operator's other systems ask: people found, copied and removed, and access tokens.

``/api/operator/users`` and ``/api/operator/access_token``; 404 without ``operator.token``.
"""

from handlers.operator import OperatorHandler, UserHandler
from services.errors import ApiError
from services.ids import UserId
from services.operator_api import PeopleService, access_token, operators_account

_SEARCHES = ("id", "openid", "unionid", "name")


class PeopleHandler(OperatorHandler):
    @property
    def people(self) -> PeopleService:
        assert self.container.people is not None  # there is a token, as `prepare` has seen
        return self.container.people


class UsersHandler(PeopleHandler):
    """``GET /api/operator/users?id=|openid=|unionid=|name=&cursor=``: find people."""

    parameters = (*_SEARCHES, "cursor")

    async def get(self) -> None:
        given = {name: self.get_query_argument(name, None, strip=False) for name in _SEARCHES}
        asked = {name: text for name, text in given.items() if text is not None}
        self.write_json(await self.people.find(asked, self.get_query_argument("cursor", "")))


class ExportHandler(PeopleHandler):
    """``GET /api/operator/users/<id>/export``: everything that is kept of a person."""

    async def get(self, user_id: str) -> None:
        await self.note_deed()
        document = await self.people.export(UserId(user_id))
        if document is None:
            raise ApiError("not_found", "There is no such user.")
        self.set_header("Content-Disposition", 'attachment; filename="user.json"')
        self.write_json(document)


class RemovalHandler(PeopleHandler, UserHandler):
    """``DELETE /api/operator/users/<id>``: forget a person."""

    async def delete(self, user_id: str) -> None:
        self.answer(await self.people.remove(UserId(user_id)))


class AccessTokenHandler(OperatorHandler):
    """``GET /api/operator/access_token?account=``: the account's one access_token."""

    parameters = ("account",)

    async def get(self) -> None:
        account = operators_account(self.container.accounts, self.get_query_argument("account", ""))
        await self.note_deed(account.name)
        self.write_json(await access_token(account, self.container.clock.now()))
