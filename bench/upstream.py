"""A WeChat API that costs next to nothing: the access token, QR codes, and the user of an openid.

The benchmarks measure scanpush, not a simulator; this answers scanpush's requests at once, from
one protocol without parsing more than the path. Every openid has a unionid, so that scanpush asks
for each person only once. With `--delay` each answer takes as long as WeChat's do from far away.
"""

import asyncio
import itertools
import json
from urllib.parse import parse_qs, urlsplit

from bench.peers import common

NUMBER = itertools.count(1)


def answer(path: str, body: bytes = b"") -> dict[str, object]:
    """The document for one of WeChat's paths (pages "Get access token", "QR codes", "User info").

    >>> answer("/cgi-bin/user/info?openid=oA")["unionid"]
    'u-oA'
    """
    parts = urlsplit(path)
    if parts.path.endswith("token"):
        return {"access_token": f"bench-{next(NUMBER)}", "expires_in": 7200}
    if parts.path.endswith("/qrcode/create"):
        number = next(NUMBER)
        return {
            "ticket": f"gQbench{number:020d}",
            "expire_seconds": 1800,
            "url": f"http://weixin.qq.com/q/02bench{number:010d}",
        }
    if parts.path.endswith("/user/info"):
        openid = parse_qs(parts.query).get("openid", [""])[0]
        return follower(openid)
    if parts.path.endswith("/user/info/batchget"):
        wanted = json.loads(body)["user_list"]
        return {"user_info_list": [follower(user["openid"]) for user in wanted]}
    return {"errcode": 0, "errmsg": "ok"}


def follower(openid: str) -> dict[str, object]:
    return {"subscribe": 1, "openid": openid, "unionid": f"u-{openid}", "language": "zh_CN"}


class Upstream(common.ToyHttp):
    """One keep-alive connection, whose client asks nothing before it has its answer."""

    def __init__(self, delay_seconds: float) -> None:
        super().__init__()
        self._delay_seconds = delay_seconds

    def answer(self, path: str, body: bytes) -> bytes:
        document = json.dumps(answer(path, body)).encode()
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(document), document)
        )

    def send(self, response: bytes) -> None:
        if self._delay_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay_seconds, self._transport.write, response)
        else:
            self._transport.write(response)


async def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--delay", type=float, default=0, help="seconds before each answer")
    options = parser.parse_args()
    listener = common.listen(options.port)
    await asyncio.get_running_loop().create_server(
        lambda: Upstream(options.delay), sock=listener, backlog=common.LISTEN_BACKLOG
    )
    common.ready(http=common.port_of(listener))
    await common.until_terminated()


if __name__ == "__main__":
    asyncio.run(main())
