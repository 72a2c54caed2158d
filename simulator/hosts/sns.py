"""api.weixin.qq.com, ``/sns``: one person's authorisation. The answers are text/plain."""

import json
import re
from collections.abc import Mapping
from typing import Any

from simulator.config import SimulatedAccount, SimulatedApp
from simulator.credentials import MINI_PROGRAM_LOGIN, TOKEN_SECONDS, WEB_SCOPES, UserToken
from simulator.hosts.base import PLAIN, WeChatHandler
from simulator.refusals import Refusal

_ESCAPED_CONTROL = re.compile(r"\\u00([01][0-9a-f])")


class SnsHandler(WeChatHandler):
    """An interface of ``/sns``."""

    content_type = PLAIN

    def app_of(
        self, arguments: Mapping[str, str], secret_needed: bool, grant_type: str
    ) -> SimulatedAccount | SimulatedApp:
        """The calling app, its quota spent.

        Raises:
            Refusal: 40002 and those of `owner_of`.
        """
        app = self.owner_of(arguments, secret_needed)
        # An account's list holds for every call, a mini program's for those with the AppSecret.
        if secret_needed or isinstance(app, SimulatedAccount):
            self.check_address(app)
        # After appid and secret, whose mistakes are named first.
        if arguments.get("grant_type") != grant_type:
            raise Refusal(40002)
        self.world.quotas.spend(app.app_id, self.wechat_path)
        return app

    def person_token(self) -> UserToken:
        """The person's token of the query.

        Raises:
            Refusal: those of `UserTokens.check`, and 40164.
        """
        token = self.world.user_tokens.check(
            self.get_query_argument("access_token", ""), self.get_query_argument("openid", "")
        )
        if account := self.world.accounts.get(token.grant.app_id):
            self.check_address(account)
        return token

    def token_document(self, token: UserToken) -> dict[str, Any]:
        return {
            "access_token": token.value,
            "expires_in": TOKEN_SECONDS,
            "refresh_token": token.refresh_value,
            "openid": token.openid,
            "scope": token.grant.scope,
        }


class ExchangeHandler(SnsHandler):
    """``GET /sns/oauth2/access_token``: a code becomes credentials, once."""

    async def call(self) -> None:
        arguments = self.query()
        app = self.app_of(arguments, True, "authorization_code")
        grant = self.world.grants.redeem(app.app_id, arguments.get("code", ""), *WEB_SCOPES)
        openid = self.world.people.openid(grant.person, app.app_id)
        document = self.token_document(self.world.user_tokens.issue(grant, openid))
        if grant.snapshot:
            document["is_snapshotuser"] = 1
        # The silent scope tells who the person is at this account, and no more.
        if grant.scope != "snsapi_base":
            document |= self.unionid(app.app_id, grant.person)
        self.answer(document)


class RefreshHandler(SnsHandler):
    """``GET /sns/oauth2/refresh_token``: without the secret."""

    async def call(self) -> None:
        arguments = self.query()
        app = self.app_of(arguments, False, "refresh_token")
        refresh_token = arguments.get("refresh_token", "")
        self.answer(self.token_document(self.world.user_tokens.refresh(app.app_id, refresh_token)))


class ProfileHandler(SnsHandler):
    """``GET /sns/userinfo``: nickname and avatar, where snsapi_userinfo was granted."""

    async def call(self) -> None:
        token = self.person_token()
        if token.grant.scope == "snsapi_base":
            raise Refusal(48001)
        self.world.quotas.spend(token.grant.app_id, self.wechat_path)
        person = token.grant.person
        self.answer(
            {
                "openid": token.openid,
                "nickname": person.shown_name,
                "sex": 0,
                "language": "",
                "city": "",
                "province": "",
                "country": "",
                "headimgurl": person.avatar or f"{self.world.phone_base}/phone/static/person.svg",
                "privilege": [],
                **self.unionid(token.grant.app_id, person),
            }
        )

    def answer(self, document: Mapping[str, Any]) -> None:
        """Control characters in a nickname come raw, as real answers have them."""
        text = json.dumps(document, ensure_ascii=False)
        raw = _ESCAPED_CONTROL.sub(lambda match: chr(int(match[1], 16)), text)
        self.give(raw.encode("utf-8", "replace"), self.content_type)


class CheckHandler(SnsHandler):
    """``GET /sns/auth``: whether the credential is of this person."""

    async def call(self) -> None:
        self.person_token()
        self.answer({"errcode": 0, "errmsg": "ok"})


class MiniProgramSessionHandler(SnsHandler):
    """``GET /sns/jscode2session``."""

    async def call(self) -> None:
        arguments = self.query()
        app = self.app_of(arguments, True, "authorization_code")
        code = arguments.get("js_code", "")
        grant = self.world.grants.redeem(app.app_id, code, MINI_PROGRAM_LOGIN)
        self.answer(
            {
                "session_key": self.world.mini_programs.session_key(
                    grant.person, self.world.mini_programs.app(app.app_id)
                ),
                "openid": self.world.people.openid(grant.person, app.app_id),
                **self.unionid(app.app_id, grant.person),
            }
        )
