"""api.weixin.qq.com, ``/cgi-bin/user`` and ``/cgi-bin/tags``: the followers of an account."""

from typing import Any

from simulator.config import SimulatedAccount, SimulatedApp
from simulator.followers import follow_of, listed, set_remark
from simulator.hosts.base import CredentialHandler
from simulator.refusals import Refusal

BATCH_LIMIT = 100


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
            "remark": follow.remark,
            "groupid": follow.tags[0] if follow.tags else 0,
            "tagid_list": follow.tags,
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


class UserListHandler(CredentialHandler):
    """``GET /cgi-bin/user/get?next_openid=``: all followers, ten thousand at once."""

    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        openids = [openid for openid, _ in self.world.people.followers(app.app_id)]
        page = listed(openids, self.get_query_argument("next_openid", ""))
        self.answer({"total": len(openids), **page})


class RemarkHandler(CredentialHandler):
    """``POST /cgi-bin/user/info/updateremark``."""

    method = "POST"
    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        openid, remark = request.get("openid"), request.get("remark")
        set_remark(self.world.people, app.app_id, openid, remark)
        self.ok()


class TagsHandler(CredentialHandler):
    """``GET /cgi-bin/tags/get``: every tag with the number of its followers."""

    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        self.answer({"tags": self.world.tags.all(app.app_id)})


class ChangeTagHandler(CredentialHandler):
    """``POST /cgi-bin/tags/create|update|delete``."""

    method = "POST"
    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        tag, tags = self.json_body().get("tag"), self.world.tags
        if not isinstance(tag, dict):
            raise Refusal(45159)
        action = self.wechat_path.rpartition("/")[2]
        if action == "create":
            self.answer({"tag": tags.create(app.app_id, tag.get("name"))})
            return
        if action == "update":
            tags.rename(app.app_id, tag.get("id"), tag.get("name"))
        else:
            tags.delete(app.app_id, tag.get("id"))
        self.ok()


class TaggedHandler(CredentialHandler):
    """``POST /cgi-bin/user/tag/get``: the followers of a tag."""

    method = "POST"
    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        openids = self.world.tags.followers(app.app_id, request.get("tagid"))
        self.answer(listed(openids, request.get("next_openid")))


class TagMembersHandler(CredentialHandler):
    """``POST /cgi-bin/tags/members/batchtagging|batchuntagging``."""

    method = "POST"
    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        on = self.wechat_path.endswith("/batchtagging")
        openids = request.get("openid_list")
        self.world.tags.change(app.app_id, request.get("tagid"), openids, on)
        self.ok()


class TagsOfFollowerHandler(CredentialHandler):
    """``POST /cgi-bin/tags/getidlist``: the tags of one follower."""

    method = "POST"
    needs = "verified"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        follow = follow_of(self.world.people, app.app_id, self.json_body().get("openid"))
        self.answer({"tagid_list": follow.tags})
