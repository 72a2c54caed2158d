"""What every answer of the server has, whatever was asked."""

import json

import httpx

from services.errors import STATUS


def error_of(answer: httpx.Response) -> dict[str, str]:
    """The error document, after checking that it is one of the contract."""
    assert answer.headers["Content-Type"].lower() == "application/json; charset=utf-8"
    check_headers(answer)
    body = answer.json()
    assert set(body) == {"error"} and {"code", "message"} <= set(body["error"])
    assert set(body["error"]) <= {"code", "message", "field"}
    assert STATUS[body["error"]["code"]] == answer.status_code
    assert answer.headers["X-Request-Id"] not in answer.text
    return body["error"]


def check_headers(answer: httpx.Response) -> None:
    """Nothing is cached, everything has an id, and no header names the software."""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-Id"]
    assert "Server" not in answer.headers


def check(answer: httpx.Response) -> None:
    """Any answer: never an internal failure, and errors as the contract says."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error_of(answer)
    assert "Traceback" not in answer.text


def parsed(raw: bytes) -> httpx.Response:
    """The first response of a raw connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    length = int(dict(headers).get("Content-Length", len(body)))
    return httpx.Response(int(first.split(" ")[1]), headers=headers, content=body[:length])


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
