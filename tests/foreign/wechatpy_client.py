"""wechatpy against the simulator: url, app_id, app_secret, openid, template_id, picture."""

import json
import sys
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from wechatpy import WeChatClient
from wechatpy.exceptions import WeChatClientException

url, app_id, app_secret, openid, template_id, picture = sys.argv[1:]


class ToSimulator(HTTPAdapter):
    """Sends everything to the simulator, which tells WeChat's hosts apart by their names."""

    def send(self, request, **options):
        host = urlsplit(request.url).netloc
        request.headers["Host"] = host
        request.url = request.url.replace(f"https://{host}", url)
        return super().send(request, **options)


client = WeChatClient(app_id, app_secret)
client._http.mount("https://", ToSimulator())

seen = {}
code = client.qrcode.create(
    {
        "expire_seconds": 300,
        "action_name": "QR_STR_SCENE",
        "action_info": {"scene": {"scene_str": "a-scene"}},
    }
)
seen["code"] = code["url"]
address = client.qrcode.get_url(code["ticket"])
shown = client._http.get(address)
seen["picture"] = [shown.headers["Content-Type"], shown.content[:3].hex()]
seen["scene"] = client.user.get(openid)["qr_scene_str"]
seen["followers"] = client.user.get_followers()["data"]["openid"]
tag = client.tag.create("vip")
client.tag.tag_user(tag["id"], openid)
seen["tagged"] = client.tag.get_user_tag(openid) == [tag["id"]]
client.user.update_remark(openid, "Ali")
seen["remark"] = client.user.get(openid)["remark"]
client.menu.create({"button": [{"type": "click", "name": "Today", "key": "today"}]})
seen["menu"] = client.menu.get()["menu"]["button"][0]["name"]
client.message.send_text(openid, "written by an SDK")
with open(picture, "rb") as file:
    media_id = client.media.upload("image", file)["media_id"]
with open(picture, "rb") as file:
    seen["media"] = client.media.download(media_id).content == file.read()
seen["ticket"] = len(client.jsapi.get_jsapi_ticket())
notice = {
    key: {"value": "2026-01-02 03:04" if key == "time2" else "a"}
    for key in ("thing1", "time2", "thing3")
}
seen["notice"] = client.message.send_template(openid, template_id, notice)["errcode"]
seen["addresses"] = client.misc.get_wechat_ips()
try:
    client.message.send_text("o" * 28, "to a person who does not exist")
except WeChatClientException as error:
    seen["errcode"] = error.errcode
print(json.dumps(seen))
