"""Routes, methods, sizes: what is answered before any service is asked."""

from pathlib import Path

import pytest

from tests.handlers.answers import check_headers, error_of, parsed
from tests.handlers.running import Running
from tests.stack import ON_LOOP, Stack

SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"

METHODS = {
    "/": {"GET"},
    "/api/scenes": {"POST", "OPTIONS"},
    f"/api/scenes/{SCENE}": {"GET", "DELETE", "OPTIONS"},
    f"/api/scenes/{SCENE}/ack": {"POST", "OPTIONS"},
    f"/api/scenes/{SCENE}/qr.svg": {"GET", "OPTIONS"},
    f"/api/scenes/{SCENE}/qr.png": {"GET", "OPTIONS"},
    "/api/me": {"GET", "OPTIONS"},
    "/.well-known/jwks.json": {"GET", "OPTIONS"},
    "/wechat/callback": {"GET", "POST"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
    "/metrics": {"GET"},
}


@pytest.mark.parametrize("path", METHODS)
def test_other_methods_are_405(server: Running, path: str) -> None:
    """With the contract's error and what is allowed (RFC 9110, section 15.5.6)."""
    every = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "PROPFIND"}
    methods = METHODS[path] | ({"HEAD"} if "GET" in METHODS[path] else set())
    for method in every - methods:
        answer = server.http.request(method, path)
        assert answer.status_code == 405
        check_headers(answer)
        assert set(answer.headers["Allow"].split(", ")) == methods | {"OPTIONS"}
        if method != "HEAD":
            assert error_of(answer)["code"] == "method_not_allowed"


def test_head_is_get_without_the_body(server: Running) -> None:
    """Monitors ask so."""
    for path in ("/", "/healthz", "/metrics", "/api/me"):
        head, get = server.http.head(path), server.http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api", "/api/", "/api/scenes/", f"/api/scenes/{SCENE}/", f"/api/scenes/{SCENE}/x",
     f"/api/scenes/{SCENE}/qr.gif", "/wechat", "/wechat/callback/", "/metrics/", "/..%2f..%2fetc",
     "/static/../config.yaml", "/static/..%2fconfig.yaml", "/static/nothing.js", "/static/",
     "/static/%00", "/favicon.ico", "/config.yaml", "/.git/HEAD", "/data/jwt-keys.json"],
)  # fmt: skip
def test_what_is_not_there_is_404(server: Running, path: str) -> None:
    """In the words of the contract, for every method; nothing of the disk but static/."""
    answer = parsed(
        server.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    )
    assert answer.status_code in (403, 404)
    assert error_of(answer)["code"] in ("not_found", "forbidden")


@pytest.mark.parametrize(
    ("path", "is_told"),
    [("/api/me/", True), ("/metrics/", True), ("/api/me//", False), ("/api/", False),
     ("/oauth/token/", False), ("/robots.txt/", False)],
)  # fmt: skip
def test_a_slash_too_many_is_told(server: Running, path: str, is_told: bool) -> None:
    """Where there is something without it: no provider without clients, no file of any name."""
    answer = server.http.get(path)
    assert answer.status_code == 404
    told = error_of(answer)["message"] == (
        "There is nothing here; without the slash at the end there is."
    )
    assert told is is_told


def test_a_body_over_64_kib_is_413(server: Running) -> None:
    """By its announced length, before it is read."""
    for size in (65_537, 200_000, 5_000_000):
        for path in ("/api/scenes", "/wechat/callback"):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            answer = parsed(server.raw(head.encode() + b"x" * 1000))
            assert error_of(answer)["code"] == "too_large"


def test_a_client_that_sends_it_all_the_same_hears_413(server: Running) -> None:
    """An ordinary client, which reads only after it has sent everything."""
    for size in (65_537, 200_000, 3_000_000):
        answer = server.http.post("/api/scenes", content=b"x" * size)
        assert error_of(answer)["code"] == "too_large"


def test_64_kib_are_read(server: Running) -> None:
    """The limit itself is allowed."""
    answer = server.http.post("/api/scenes", content=b" " * (65_536 - 2) + b"{}")
    assert answer.status_code == 201


@pytest.mark.parametrize("size", [65_537, 100_000, 140_000, 1_000_000])
def test_a_chunked_body_over_64_kib_is_413(server: Running, size: int) -> None:
    """It announces no length, so it is counted."""
    head = b"POST /api/scenes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = parsed(server.raw(head + chunk * (size // 4096 + 1) + b"0\r\n\r\n"))
    assert error_of(answer)["code"] == "too_large"


def test_a_small_chunked_body_is_read(server: Running) -> None:
    """Proxies send such."""
    head = (
        b"POST /api/scenes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n"
    )
    answer = parsed(server.raw(head + b'2\r\n{"\r\n5\r\na":1}\r\n0\r\n\r\n'))
    assert answer.status_code == 201


def test_the_server_goes_on_after_all_of_it(server: Running) -> None:
    """Nothing above has hurt it."""
    assert server.http.get("/readyz").json() == {"status": "ready"}


BEGINS: list[tuple[str, dict[str, str]]] = [
    ("{}", {}),
    ("", {"Cookie": "a=b; begin=" + 43 * "x"}),
    ('{"kind": "web", "lang": "en"}', {"Origin": "https://shop.example"}),
    ("{}", {"Origin": "https://evil.example"}),
    ("{}", {"X-Forwarded-Proto": "https"}),
    ('{"kind": "fax"}', {}),
    ('{"kind": 1}', {"Origin": "https://shop.example"}),
    ('{"account": "nobody"}', {}),
    ('{"kiosk": "hall"}', {"Authorization": "Bearer wrong"}),
    ("[]", {}),
    ("{", {}),
    ("\ufeff{}", {}),
]


@ON_LOOP
async def test_a_scene_is_begun_alike_with_and_without_a_handler(tmp_path: Path) -> None:
    """The hot route and Tornado's own answer have the same status, headers and fields."""
    server = {"allowed_origins": ["https://shop.example"], "trusted_proxies": ["127.0.0.1"]}
    async with (
        Stack(tmp_path / "hot", server=server) as hot,
        Stack(tmp_path / "plain", server=server, tornado=True) as plain,
    ):
        for body, headers in BEGINS:
            seen = [
                await stack.http.post("/api/scenes?x=1", content=body.encode(), headers=headers)
                for stack in (hot, plain)
            ]
            assert seen[0].status_code == seen[1].status_code, (body, headers)
            fast, slow = ({n.lower() for n in answer.headers} - {"date"} for answer in seen)
            assert fast == slow, (body, headers)
            cookies = [answer.headers.get("Set-Cookie", "").split("=", 1) for answer in seen]
            assert [c[0] for c in cookies] == [cookies[0][0]] * 2
            assert [c[-1].partition(";")[2] for c in cookies][0] == cookies[1][-1].partition(";")[2]
            documents = [answer.json() for answer in seen]
            assert documents[0].keys() == documents[1].keys()
            if seen[0].status_code >= 400:
                assert documents[0] == documents[1]
