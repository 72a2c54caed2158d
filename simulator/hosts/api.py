"""api.weixin.qq.com, ``/cgi-bin``: credentials, QR codes, followers, notices, diagnostics; and
mp.weixin.qq.com, which has only the picture of a code.
"""

from typing import Any

from simulator.codes import qr_png
from simulator.config import SimulatedAccount, SimulatedApp
from simulator.hosts.base import CredentialHandler, WeChatHandler
from simulator.notices import Notice
from simulator.refusals import Refusal

BATCH_LIMIT = 100


class TokenHandler(WeChatHandler):
    """``GET /cgi-bin/token``: a new access_token each time."""

    async def call(self) -> None:
        arguments = self.query()
        if arguments.get("grant_type") != "client_credential":
            raise Refusal(40002)
        app = self.owner_of(arguments)
        # Here and in stable_token only: other calls are not held to the allow list.
        self.check_address(app)
        self.world.quotas.spend(app.app_id, self.wechat_path)
        token, expires_in = self.world.tokens.classic(app.app_id)
        self.answer({"access_token": token, "expires_in": expires_in})


class StableTokenHandler(WeChatHandler):
    """``POST /cgi-bin/stable_token``: the same access_token for every caller."""

    method = "POST"

    async def call(self) -> None:
        arguments = self.json_body()
        if arguments.get("grant_type") != "client_credential":
            raise Refusal(40002)
        app = self.owner_of(arguments)
        self.check_address(app)
        self.world.quotas.spend(app.app_id, self.wechat_path)
        force = arguments.get("force_refresh") is True
        token, expires_in = self.world.tokens.stable(app.app_id, force)
        self.answer({"access_token": token, "expires_in": expires_in})


class CreateCodeHandler(CredentialHandler):
    """``POST /cgi-bin/qrcode/create``."""

    method = "POST"
    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        code = self.world.codes.create(app.app_id, self.json_body())
        document: dict[str, Any] = {"ticket": code.ticket}
        if code.expires_at is not None:
            document["expire_seconds"] = code.expire_seconds
        self.answer({**document, "url": self.world.code_url(code)})


class FollowerHandler(CredentialHandler):
    """What the two user/info interfaces share."""

    needs = "verified"

    def follower(self, app: SimulatedAccount | SimulatedApp, openid: object) -> dict[str, Any]:
        """One person as user/info tells it: no nickname and no avatar since December 2021.

        Raises:
            Refusal: 40003.
        """
        person = self.world.people.by_openid(app.app_id, str(openid))
        if person is None:
            raise Refusal(40003)
        # About a person who does not follow, WeChat tells only that.
        follow = person.follows.get(app.app_id)
        if follow is None:
            return {"subscribe": 0, "openid": openid}
        return {
            "subscribe": 1,
            "openid": openid,
            "language": person.language,
            "subscribe_time": follow.since,
            **self.unionid(app.app_id, person),
            "remark": "",
            "groupid": 0,
            "tagid_list": [],
            "subscribe_scene": follow.how,
            "qr_scene": follow.scene_id,
            "qr_scene_str": follow.scene_str,
        }


class UserInfoHandler(FollowerHandler):
    """``GET /cgi-bin/user/info``."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        openid = self.get_query_argument("openid", "")
        if not openid:
            raise Refusal(41009)
        self.answer(self.follower(app, openid))


class BatchUserInfoHandler(FollowerHandler):
    """``POST /cgi-bin/user/info/batchget``: at most a hundred at once."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        wanted = self.json_body().get("user_list")
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise Refusal(47001)
        if not 1 <= len(wanted) <= BATCH_LIMIT:
            raise Refusal(40032)
        # One unknown openid refuses the whole list.
        found = [self.follower(app, one.get("openid")) for one in wanted]
        self.answer({"user_info_list": found})


class CallbackAddressesHandler(CredentialHandler):
    """``GET /cgi-bin/getcallbackip``: the simulator pushes from this machine."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        self.answer({"ip_list": ["127.0.0.1", "::1"]})


class CallbackCheckHandler(CredentialHandler):
    """``POST /cgi-bin/callback/check``: resolves and pings the callback URL's host."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        arguments = self.json_body()
        if not isinstance(app, SimulatedAccount) or not app.callback_url:
            raise Refusal(40201)
        if arguments.get("action") not in ("dns", "ping", "all"):
            raise Refusal(40202)
        if arguments.get("check_operator") not in ("CHINANET", "UNICOM", "CAP", "DEFAULT"):
            raise Refusal(40203)
        document: dict[str, Any] = {}
        if arguments["action"] != "ping":
            document["dns"] = [{"ip": "127.0.0.1", "real_operator": "DEFAULT"}]
        if arguments["action"] != "dns":
            ping = {"ip": "127.0.0.1", "from_operator": "DEFAULT"}
            document["ping"] = [{**ping, "package_loss": "0%", "time": "0.05ms"}]
        self.answer(document)


class ClearQuotaHandler(CredentialHandler):
    """``POST /cgi-bin/clear_quota``: ten times a month."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if self.json_body().get("appid") != app.app_id:
            raise Refusal(40013)
        self.world.quotas.clear(app.app_id)
        self.answer({"errcode": 0, "errmsg": "ok"})


class SendTemplateHandler(CredentialHandler):
    """``POST /cgi-bin/message/template/send``: accepted now, its result pushed later."""

    method = "POST"
    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if not isinstance(app, SimulatedAccount):
            raise Refusal(48001)
        notice = self.world.notices.accept(app, self.json_body())
        # A repeat with the same client_msg_id is answered alike, and nothing is sent.
        if notice.fresh:
            self._deliver(app, notice)
        self.answer({"errcode": 0, "errmsg": "ok", "msgid": notice.message_id})

    def _deliver(self, account: SimulatedAccount, notice: Notice) -> None:
        """Show it in the chat, then push TEMPLATESENDJOBFINISH without waiting for it."""
        person, status = notice.person, "success"
        if person.blocks_notices:
            status = "failed:user block"
        else:
            self.world.chats.add(person.name, account.app_id, "account", notice.text, "notice")
        fields: dict[str, str | int] = {"MsgID": notice.message_id, "Status": status}
        event = self.world.phones.event(
            person.name, "TEMPLATESENDJOBFINISH", fields, account.app_id
        )
        # Not awaited: the result of a notice comes later than the answer that accepted it.
        self.world.supervisor.spawn(event, name="TEMPLATESENDJOBFINISH")


class ShowCodeHandler(WeChatHandler):
    """``GET /cgi-bin/showqrcode?ticket=``: needs no credential; 404 for an unknown ticket."""

    host = "mp"

    async def call(self) -> None:
        code = self.world.codes.by_ticket(self.get_query_argument("ticket", ""))
        # No errcode: this host serves browsers.
        if code is None or code.expired(self.world.clock.now()):
            self.set_status(404)
            self.finish()
            return
        self.set_header("Cache-Control", "max-age=604800")
        self.give(qr_png(self.world.code_url(code)), "image/png")
