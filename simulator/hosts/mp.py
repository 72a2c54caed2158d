"""mp.weixin.qq.com: the picture of a code."""

from simulator.hosts.base import WeChatHandler
from simulator.pictures import qr_png


class ShowCodeHandler(WeChatHandler):
    """``GET /cgi-bin/showqrcode?ticket=``: needs no credential; 404 for an unknown ticket."""

    host = "mp"

    async def call(self) -> None:
        code = self.world.codes.by_ticket(self.get_query_argument("ticket", ""))
        if code is None or code.expired(self.world.clock.now()):
            self.set_status(404)
            self.finish()
            return
        self.set_header("Cache-Control", "max-age=604800")
        self.give(qr_png(self.world.code_url(code)), "image/png")
