"""Requests for sockets, without any socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from handlers.listener import plain_head
from handlers.sockets import refused
from services.errors import ApiError
from services.push.handshake import UpgradeRequest, check_request, read_offer
from tests.conformance.raw import upgrade
from tests.services.push.kit import TOKEN, Counters

SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def _request(**headers: str) -> UpgradeRequest:
    base = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-Websocket-Version": "13",
        "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-Websocket-Protocol": f"scanpush.v1, watch.{TOKEN}",
    }
    base.update({name.replace("_", "-"): value for name, value in headers.items()})
    return UpgradeRequest("GET", f"/ws/{SCENE}", "HTTP/1.1", base, "127.0.0.1")


def test_plain_head():
    """The plain form is read as Tornado reads it, and the length is that of the head."""
    head = upgrade(SCENE)
    found = plain_head(head + b"\x81\x80abcd")
    assert found is not None
    assert found.length == len(head)
    text = head.decode().split("\r\n", 1)[1].rstrip("\r\n") + "\r\n"
    assert found.headers == dict(HTTPHeaders.parse(text).get_all())
    assert (found.method, found.target) == ("GET", f"/ws/{SCENE}")


NOT_PLAIN = {
    "HTTP/1.0": upgrade(SCENE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "unfinished": upgrade(SCENE)[:-2],
    "nothing": b"",
    "bare line feeds": upgrade(SCENE).replace(b"\r\n", b"\n"),
    "one bare line feed": upgrade(SCENE).replace(b"websocket\r\n", b"websocket\n", 1),
    "a folded line": upgrade(SCENE).replace(b"Host: ", b"Host:\r\n "),
    "space before the colon": upgrade(SCENE).replace(b"Host:", b"Host :"),
    "a header twice": upgrade(SCENE).replace(b"Host:", b"Origin: x\r\nHost:"),
    "a byte of no ASCII": upgrade(SCENE).replace(b"node.", b"n\xf6de."),
    "no host": upgrade(SCENE, Host=None),
    "a NUL": upgrade(SCENE).replace(b"node.", b"n\x00de."),
    "no headers": b"GET /ws/ HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("head", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_not_plain(head):
    """Everything unusual is left to a full parser."""
    assert plain_head(head) is None


@given(st.binary(max_size=300), st.integers(0, 300))
def test_plain_head_from_rubbish(rubbish, place):
    """Rubbish within a good request never raises, and never grows the head."""
    head = upgrade(SCENE)
    found = plain_head(head[:place] + rubbish + head[place:])
    assert found is None or found.length <= len(head) + len(rubbish)


def test_offer():
    """Scene, token, key and address."""
    request = _request()
    check_request(request)
    offer = read_offer(request, "192.0.2.9")
    assert (offer.scene_str, offer.watch_token, offer.address) == (SCENE, TOKEN, "192.0.2.9")


def test_offer_hides_its_token():
    """No secret stands in a log line or a traceback that shows an offer."""
    assert TOKEN not in repr(read_offer(_request(), ""))


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "WebSocket", "Connection": "keep-alive,  UPGRADE "},
        {"Sec_Websocket_Protocol": f"watch.{TOKEN},scanpush.v1,chat"},
    ],
)
def test_other_spellings(headers):
    """Case and spaces where RFC 9110 leaves them free."""
    check_request(_request(**headers))
    assert read_offer(_request(**headers), "").watch_token == TOKEN


@given(st.dictionaries(st.sampled_from(list(_request().headers)), st.text(max_size=80)))
def test_any_headers(headers):
    """Any value of any header is accepted or refused with a code of the contract."""
    request = UpgradeRequest(
        "GET", f"/ws/{SCENE}", "HTTP/1.1", {**_request().headers, **headers}, ""
    )
    try:
        check_request(request)
        read_offer(request, "")
    except ApiError as refusal:
        assert refusal.code in ("upgrade_required", "bad_request", "forbidden")


def test_refusal_answer():
    """Never cached, always with an id; what to do next where there is something."""
    metrics = Counters()
    _, headers, body = refused(ApiError("overloaded", "no room", retry_after=2), metrics)
    assert headers["Retry-After"] == "2" and headers["Cache-Control"] == "no-store"
    assert b'"overloaded"' in body and int(headers["Content-Length"]) == len(body)
    assert len(headers["X-Request-Id"]) == 16 and metrics.refusals == ["overloaded"]
