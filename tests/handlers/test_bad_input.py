"""Whatever is sent: a clear error of the contract, never an internal failure."""

import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from tests.handlers.answers import check, error_of, parsed
from tests.handlers.running import Running
from tests.stack import eventually

hostile = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3)
    | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
scene_bodies = some.fixed_dictionaries(
    {},
    optional={
        name: json_values for name in ("account", "kind", "lang", "kiosk", "openid", "__proto__")
    },
)
header_texts = some.text(
    some.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"),
    min_size=1,
    max_size=80,
).map(lambda text: text.encode("latin-1"))
paths = some.text(max_size=60).map(lambda text: "/" + text.encode("utf-8", "replace").hex())
raw_paths = some.lists(
    some.sampled_from(
        ["/", "api", "scenes", "ws", "static", "wechat", "callback", "..", "%2e%2e", "%00", "%ff",
         "%", "%zz", ";", "?", "#", "[", "é", " ", "\\", "qr.svg", "ack", "//", "x" * 70,
         "3f2504e0-4f89-41d3-9a0c-0305e82c3301"]
    ),
    max_size=6,
).map(lambda parts: "/" + "/".join(parts))  # fmt: skip


def unread(server: Running, path: str, method: str = "GET", head: bytes = b"") -> Any:
    """A request whose target is sent as it stands, which no client library would do."""
    target = path.encode("utf-8").replace(b" ", b"%20")
    request = method.encode() + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return parsed(server.raw(request + head + b"\r\n"))


@hostile
@given(body=json_values)
@example(body={"account": {"$ne": None}})
@example(body={"kind": "\ud800"})
@example(body={"account": "a" * 65})
@example(body={"lang": "x" * 10_000})
def test_any_json_may_be_posted_to_begin(either_server: Running, body: Any) -> None:
    """An object of known fields begins a scene, everything else is told what is wrong."""
    content = json.dumps(body).encode()
    check(either_server.http.post("/api/scenes", content=content))


@hostile
@given(body=scene_bodies)
def test_known_fields_of_any_type_may_be_posted_to_begin(
    either_server: Running, body: dict[str, Any]
) -> None:
    """A wrong type is 400 with the field's name."""
    answer = either_server.http.post("/api/scenes", content=json.dumps(body).encode())
    check(answer)
    wrong = {
        name
        for name in ("account", "kind", "lang")
        if body.get(name) is not None and not isinstance(body[name], str)
    }
    if wrong:
        assert answer.status_code == 400 and error_of(answer)["field"] in wrong


@hostile
@given(body=some.binary(max_size=200))
@example(body=b"\xff\xfe{}")
@example(body=b'{"seq": 1')
@example(body=b"[" * 60_000)
@example(body=b'{"seq":' + b"9" * 5000 + b"}")
@example(body=b'{"seq":NaN}')
@pytest.mark.parametrize("path", ["/api/scenes", "/api/scenes/{}/ack", "/wechat/callback"])
def test_any_bytes_may_be_posted(either_server: Running, path: str, body: bytes) -> None:
    """Invalid UTF-8, cut-off, deep, or numbers too long to read."""
    page = either_server.begin()
    headers = {**page.bearer, "Content-Type": "application/json"}
    check(either_server.http.post(path.format(page.scene_str), content=body, headers=headers))


@hostile
@given(seq=json_values)
def test_any_seq_may_be_acknowledged(either_server: Running, seq: Any) -> None:
    """Nothing but the right number consumes anything."""
    page = either_server.begin()
    path = f"{page.document['status']}/ack"
    content = json.dumps({"seq": seq}).encode()
    answer = either_server.http.post(path, content=content, headers=page.bearer)
    assert error_of(answer)["code"] == ("stale_seq" if type(seq) is int else "bad_request")


@hostile
@given(path=raw_paths, method=some.sampled_from(["GET", "POST", "DELETE", "OPTIONS", "PUT", "FOO"]))
def test_any_path_may_be_asked_for(either_server: Running, path: str, method: str) -> None:
    """A path without a route is a 404 of the contract, also where the path is no proper URL."""
    check(unread(either_server, path, method, b"Content-Length: 0\r\n"))


@hostile
@given(wait=some.text(max_size=12), seq=some.text(max_size=12))
@example(wait="nan", seq="inf")
@example(wait="-1", seq="1")
@example(wait="1e999", seq="-0")
@example(wait="0", seq="9" * 5000)
def test_any_query_may_be_sent_to_a_poll(either_server: Running, wait: str, seq: str) -> None:
    """Numbers or 400; never longer than 25 s, and here never at all."""
    page = either_server.begin()
    either_server.http.delete(page.document["status"], headers=page.bearer)
    query = {"wait": wait, "seq": seq, "watch_token": "x", "openid": "y"}
    encoded = {name: value.encode("utf-8", "surrogatepass") for name, value in query.items()}
    check(either_server.http.get(page.document["status"], params=encoded, headers=page.bearer))


@hostile
@given(
    name=some.sampled_from(
        ["Authorization", "Cookie", "Origin", "User-Agent", "Content-Type", "X-Forwarded-For",
         "X-Forwarded-Proto", "X-Request-Id", "Accept-Language", "If-None-Match",
         "Content-Encoding", "Referer", "Access-Control-Request-Method"]
    ),
    value=header_texts,
)  # fmt: skip
@example(name="Content-Type", value=b"multipart/form-data")
@example(name="Content-Type", value=b"multipart/form-data; boundary=")
@example(name="Content-Type", value=b"application/x-www-form-urlencoded; charset=utf-16")
@example(name="Content-Encoding", value=b"gzip")
@example(name="Cookie", value=b'begin="\\777"; ;=;')
@example(name="Authorization", value=b"Bearer")
def test_any_header_may_be_sent(either_server: Running, name: str, value: bytes) -> None:
    """Header values are texts to the server, and none is believed."""
    for method, path in (("POST", "/api/scenes"), ("GET", "/api/me"), ("GET", "/")):
        content = b"--\r\nx=%ff&%" if method == "POST" else None
        answer = either_server.http.request(method, path, headers={name: value}, content=content)
        assert answer.status_code < 500
        if answer.status_code >= 400:
            error_of(answer)


@pytest.mark.parametrize("path", ["/healthz", "/api/me", "/ws/x"])
def test_headers_that_a_proxy_passes_on_are_answered(either_server: Running, path: str) -> None:
    """nginx takes a connection closed without an answer for a dead node: by a request with four
    headers of 8 KiB, its own limit, any client could take all nodes out of service."""
    headers = {f"X-{number}": "x" * 8_000 for number in range(5)}
    assert either_server.http.get(path, headers=headers).status_code in (200, 401, 426)


@pytest.mark.parametrize(
    ("path", "head", "status"),
    [
        ("/ws/x", b"", 405),
        ("/ws/3f2504e0-4f89-41d3-9a0c-0305e82c3301", b"Upgrade: websocket\r\n", 405),
        ("/", b"Content-Length: 70000\r\n", 413),
        ("/wechat/callback", b"Content-Length: 70000\r\n", 413),
        ("/", b"Content-Length: " + b"9" * 5_000 + b"\r\n", 413),
    ],
)
def test_refusals_are_answered_to_head_too(
    server: Running, path: str, head: bytes, status: int
) -> None:
    """Without a body. A connection closed without an answer looks to a proxy like a dead node."""
    request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + head + b"\r\n"
    answer = server.raw(request)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and answer.endswith(b"\r\n\r\n")


def test_a_chunked_body_of_head_is_counted(server: Running) -> None:
    """As that of any other method is, also where it offers another protocol."""
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    for offer in (b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"):
        head = b"HEAD / HTTP/1.1\r\nHost: x\r\n" + offer + b"Transfer-Encoding: chunked\r\n\r\n"
        answer = server.raw(head + 3 * chunk)
        assert answer.startswith(b"HTTP/1.1 413 ") and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_no_length_is_too_long_to_read(server: Running, method: str) -> None:
    """Python reads no number of thousands of digits."""
    head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {'9' * 5_000}\r\n\r\n".encode()
    assert server.raw(head).startswith(b"HTTP/1.1 413 ")


def test_a_poll_of_a_client_that_leaves_at_once_ends(server: Running) -> None:
    """Its end comes before it has begun to wait, and frees its place all the same."""
    page = server.begin()
    head = f"GET {page.document['status']}?wait=25&seq=1 HTTP/1.1\r\nHost: x\r\n"
    data = f"{head}Authorization: {page.bearer['Authorization']}\r\n\r\n".encode()
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.stack.port)) as connection:
            connection.sendall(data)
    # Served on the same loop, and accepted before this one.
    assert server.http.get("/healthz").status_code == 200

    async def no_poll_waits() -> bool:
        return not server.stack.server._http.requests

    server.do(eventually(no_poll_waits))


NO_NUMBERS = [
    "",
    "+1",
    "-1",
    "-0",
    "1_0",
    "1e1",
    ".5",
    "5.",
    "inf",
    "nan",
    "٣",
    "３",
    "²",
]


@pytest.mark.parametrize("name", ["wait", "seq"])
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_only_plain_digits_are_a_number(either_server: Running, name: str, text: str) -> None:
    """No other script's digits and nothing else that only a lenient reader takes for one."""
    page = either_server.begin()
    answer = either_server.http.get(
        page.document["status"], params={"wait": "0", name: text}, headers=page.bearer
    )
    assert answer.status_code == 400 and error_of(answer)["field"] == name


def test_half_a_seq_is_refused(either_server: Running) -> None:
    """A wait may have a decimal point, the count of a scene's changes has none."""
    page = either_server.begin()
    query = {"wait": "0", "seq": "1.5"}
    answer = either_server.http.get(page.document["status"], params=query, headers=page.bearer)
    assert answer.status_code == 400 and error_of(answer)["field"] == "seq"


def test_a_byte_order_mark_is_ignored(either_server: Running) -> None:
    """Some systems put one before everything."""
    answer = either_server.http.post("/api/scenes", content=b'\xef\xbb\xbf{"lang": "ja"}')
    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/api/scenes", "/api/register", "/api/miniprogram/login"])
def test_half_a_character_is_refused(either_server: Running, path: str) -> None:
    """JSON can spell a lone surrogate, which is no text: nothing could store it or send it on."""
    lone = b'{"kind": "\\ud800", "code": "\\ud800", "registration_token": "\\ud800"}'
    answer = either_server.http.post(path, content=lone)
    assert answer.status_code == 400 and error_of(answer)["code"] == "bad_request"


@pytest.mark.parametrize(
    ("wait", "seq"), [("0", "0"), ("0", "007"), ("0.0", "0"), ("0", "9" * 5_000)]
)
def test_any_plain_number_will_do(either_server: Running, wait: str, seq: str) -> None:
    """However long; too large ones count as the largest."""
    page = either_server.begin()
    query = {"wait": wait, "seq": seq}
    answer = either_server.http.get(page.document["status"], params=query, headers=page.bearer)
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["official_account", "web", "website"])
@pytest.mark.parametrize("host", ["a" * 262, "a" * 3_000, "a" * 12_000])
def test_a_host_that_cannot_be_is_refused(either_server: Running, kind: str, host: str) -> None:
    """The server's own addresses are made of it, and no QR code could hold them."""
    content = json.dumps({"kind": kind}).encode()
    answer = either_server.http.post("/api/scenes", content=content, headers={"Host": host})
    assert answer.status_code == 400 and error_of(answer)["field"] == "Host"
    assert either_server.http.get("/oauth/wechat/start", headers={"Host": host}).status_code == 400


def test_the_longest_host_has_its_codes(either_server: Running) -> None:
    """253 characters and a port, in both pictures."""
    headers = {"Host": "a" * 253 + ":65535"}
    begun = either_server.http.post("/api/scenes", json={"kind": "web"}, headers=headers).json()
    for picture in ("svg", "png"):
        assert either_server.http.get(begun["qr"][picture]).status_code == 200


@hostile
@given(bearer=header_texts)
@example(bearer=b"eyJhbGciOiJub25lIn0.e30.")
@example(bearer=b"." * 2)
@example(bearer=b"a" * 8000)
def test_any_bearer_may_be_sent(either_server: Running, bearer: bytes) -> None:
    """One and the same 401 for all of them."""
    headers = {"Authorization": b"Bearer " + bearer}
    page = either_server.begin()
    for path in ("/api/me", str(page.document["status"])):
        answer = either_server.http.get(path, headers=headers)
        assert error_of(answer)["code"] == "unauthorized"


@hostile
@given(query=some.dictionaries(
    some.sampled_from(["signature", "timestamp", "nonce", "echostr", "msg_signature",
                       "encrypt_type", "openid"]),
    some.text(max_size=20),
), body=some.binary(max_size=100), method=some.sampled_from(["GET", "POST"]))  # fmt: skip
def test_any_callback_may_be_sent(
    either_server: Running, query: dict[str, str], body: bytes, method: str
) -> None:
    """400 or 403; never an answer that tells more."""
    encoded = {name: value.encode("utf-8", "replace") for name, value in query.items()}
    answer = either_server.http.request(method, "/wechat/callback", params=encoded, content=body)
    assert error_of(answer)["code"] in ("bad_request", "forbidden")
    assert answer.json()["error"]["message"] in ("Malformed.", "Forbidden.")


@pytest.mark.parametrize("field", ["account", "kind", "lang"], ids=["account", "kind", "lang"])
@pytest.mark.parametrize(
    "value", [{"$ne": None}, {"$gt": ""}, ["x"], 7, True, {"a": {"$where": "1"}}]
)
def test_operator_objects_are_refused(either_server: Running, field: str, value: Any) -> None:
    """No object of a client ever reaches a store as a query."""
    answer = either_server.http.post("/api/scenes", json={field: value})
    assert answer.status_code == 400 and error_of(answer)["field"] == field
