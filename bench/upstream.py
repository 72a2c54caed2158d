"""A WeChat API that costs next to nothing: the access token, QR codes, and who an openid is.

The benchmarks measure scanpush, not a simulator; this answers what scanpush asks at once, from
one protocol without parsing more than the path. Every openid has a unionid, so that scanpush asks
for each person only once.
"""

import asyncio
import itertools
import json
from urllib.parse import parse_qs, urlsplit

from bench.peers import common

NUMBER = itertools.count(1)


def answer(path: str) -> dict[str, object]:
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
        return {"subscribe": 1, "openid": openid, "unionid": f"u-{openid}", "language": "zh_CN"}
    return {"errcode": 0, "errmsg": "ok"}


class Upstream(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            body = json.dumps(answer(head.split(b" ", 2)[1].decode())).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )


async def main() -> None:
    options = common.arguments(__doc__)
    listener = common.listen(options.port)
    await asyncio.get_running_loop().create_server(
        Upstream, sock=listener, backlog=common.LISTEN_BACKLOG
    )
    common.ready(http=common.port_of(listener))
    await common.until_terminated()


if __name__ == "__main__":
    asyncio.run(main())
