"""C27: no object of a client becomes part of a query."""

from pathlib import Path
from typing import Any

import pytest

from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

OPERATORS: list[Any] = [{"$ne": None}, {"$gt": ""}, {"$where": "1"}, ["$ne"], {"$regex": ".*"}]


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
async def test_operators_are_400_in_every_field(tmp_path: Path, operator: Any) -> None:
    """Every input is a bounded text or number by its schema."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        for field in ("account", "kind", "lang"):
            answer = await stack.http.post("/api/scenes", json={field: operator})
            assert answer.status_code == 400, field
            assert answer.json()["error"]["field"] == field
        path = f"{page.document['status']}/ack"
        answer = await stack.http.post(path, json={"seq": operator}, headers=page.bearer)
        assert answer.status_code == 400 and answer.json()["error"]["field"] == "seq"


@pytest.mark.parametrize("key", ["' OR 1=1 --", '"; DROP TABLE users; --', "{$ne:1}", "%s%n", "\\"])
async def test_statements_in_callbacks_are_texts(tmp_path: Path, key: str) -> None:
    """An EventKey of that kind is another code, an openid of that kind no person."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        assert (await sender.send(stack.scan_of(page, EventKey=key))).status_code == 200
        answer = await sender.send(stack.scan_of(page, FromUserName=key))
        assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "waiting"
