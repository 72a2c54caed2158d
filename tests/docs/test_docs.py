"""What the documents say is what the code does, wherever a machine can tell."""

import base64
import json
import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import BaseModel
from tornado.web import RequestHandler

from handlers.routes import routes
from handlers.sockets import SocketRouter
from services import hooks
from services.errors import STATUS
from services.events import delivery, entries
from services.metrics import MetricName
from services.oidc.discovery import CLAIMS
from services.push.close_codes import CloseCode
from services.scenes.states import FINAL, NEXT, State
from services.scenes.status import FAILURES, document
from services.settings.models import ClientSettings, Settings
from services.wechat.errcodes import TABLE, Action
from tests.docs.pages import (
    PAGES,
    READMES,
    REFERENCES,
    ROOT,
    TRANSLATED,
    TRANSLATIONS,
    anchors,
    blocks,
    headings,
    links,
    prose,
    spans,
    table,
    tables,
)
from tests.servers import need
from tests.services.scenes.test_status import SCENE
from tests.stack import ON_LOOP, Stack

ERRORS = (ROOT / "docs" / "errors.md", ROOT / "docs" / "zh-CN" / "errors.md")
SECURITY = ROOT / "docs" / "security.md"
TYPES = ROOT / "static" / "scan-login.d.ts"


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_reference = pytest.mark.parametrize("reference", REFERENCES, ids=_name)
each_errors = pytest.mark.parametrize("errors", ERRORS, ids=_name)
each_translation = pytest.mark.parametrize(
    ("english", "chinese"), TRANSLATIONS, ids=[_name(chinese) for _, chinese in TRANSLATIONS]
)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository, and a heading in it."""
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), link
        assert not parts.fragment or parts.fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_settings_named_in_code_exist(page: Path) -> None:
    """``section.key`` in backticks is a setting, by its right name."""
    sections = {name for name, field in Settings.model_fields.items() if _model(field.annotation)}
    for span in spans(prose(page)):
        name = re.split(r"[:= ]", span)[0].removesuffix(".*")
        if re.fullmatch(r"[a-z_]+(\.[a-z_<>]+)+", name) and name.split(".")[0] in sections:
            assert _setting(name), name


def _model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _setting(name: str) -> bool:
    """Whether there is a setting of that dotted name; ``<name>`` stands for a free one."""
    kind: object = Settings
    for part in name.split("."):
        if _model(kind):
            field = kind.model_fields.get(part)  # type: ignore[attr-defined]
            if field is None:
                return False
            kind = field.annotation
        else:
            kind = next((a for a in getattr(kind, "__args__", ()) if _model(a)), None)
    return True


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_scripts_and_pages_named_in_code_exist(page: Path) -> None:
    """A command or file that a reader is sent to is there."""
    for name in re.findall(r"\b(?:scripts/\w+|services/[\w/]+\.\w+|tests/[\w/]+)", prose(page)):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


@each_errors
def test_every_error_code_is_in_the_table(errors: Path) -> None:
    """Exactly those of `errors.STATUS`, with their HTTP status."""
    rows = {row[0].strip("`"): int(row[1]) for row in table(errors, "`bad_request`")}
    assert rows == dict(STATUS)


@each_errors
def test_every_failure_is_in_the_table(errors: Path) -> None:
    """What `error.code` of a failed scene may be."""
    assert {row[0].strip("`") for row in table(errors, "`try_again`")} == set(FAILURES)


@each_errors
def test_every_errcode_of_wechat_is_in_the_table(errors: Path) -> None:
    """Number, action and code of every row; in English the meaning, too; nothing more."""
    rows = [tuple(cell.strip("`") for cell in row) for row in table(errors, "-1")]
    assert [(row[0], *row[2:]) for row in rows] == [
        (str(r.errcode), r.action.value, r.code) for r in TABLE.values()
    ]
    if errors == ERRORS[0]:
        assert [row[1] for row in rows] == [r.meaning for r in TABLE.values()]
    assert [row[0] for row in table(errors, "retry")] == [action.value for action in Action]


def test_every_metric_is_in_the_table() -> None:
    """Name and sentence, as Prometheus shows them."""
    rows = table(ROOT / "docs" / "metrics.md", "`scanpush_")
    assert [(row[0].strip("`"), row[1]) for row in rows] == [(m.value, m.help) for m in MetricName]


@each_reference
def test_every_state_is_in_the_table(reference: Path) -> None:
    """With exactly the states it may go on to."""
    *rows, final = table(reference, "`waiting`")
    assert set(spans(final[0])) == FINAL
    assert {row[0].strip("`") for row in rows} == set(State) - FINAL
    for row in rows:
        assert set(re.split("[,、] ?", row[2])) == NEXT[State(row[0].strip("`"))]


@pytest.mark.parametrize("page", [*REFERENCES, TYPES], ids=_name)
def test_every_field_of_a_status_is_named(page: Path) -> None:
    """All that a page may be sent, in any state; a View tells `expires_in` by `ends`."""
    text = page.read_text(encoding="utf-8")
    if page == TYPES:
        named = {"type", "expires_in", *re.findall(r"^  (\w+)\??:", text, re.MULTILINE)}
    else:
        named = set(re.findall(r'[`"](\w+)[`"]', text))
    assert _fields_of_a_status() <= named


def _fields_of_a_status() -> set[str]:
    scenes = [
        SCENE._replace(state=state, details={**SCENE.details, **more})
        for state in State
        for more in ({}, {"kiosk": "lobby3"})
    ]
    return {
        field for scene in scenes for field in document(scene, 0, lambda _scene, _purpose: "signed")
    }


@each_reference
def test_every_close_code_is_in_the_table(reference: Path) -> None:
    """Those that the server sends, and 1006, which no endpoint sends."""
    codes = {int(n) for row in table(reference, "1000") for n in re.findall(r"\d+", row[0])}
    assert codes == {code.value for code in CloseCode} | {1006}


def _documented_routes(reference: Path) -> set[tuple[str, str]]:
    """(method, path) of the table, with something for each placeholder."""
    found = set()
    for span in (span for row in table(reference, "`GET /`") for span in spans(row[0])):
        method, path = span.split(" ", 1)
        for variant in {path.replace("[", "").replace("]", ""), re.sub(r"\[.*\]", "", path)}:
            found.add((method, re.sub("<[^>]+>", "x.txt", variant)))
    return found


async def _routes(folder: Path) -> list[tuple[str, type[RequestHandler]]]:
    sections = {
        "operator": {"token": "an-operator-token-of-tests"},
        "wechat": {"verify_files": {"x.txt": "x"}},
    }
    async with Stack(folder, **sections) as stack:
        return [(rule[0], rule[1]) for rule in routes(stack.container)]


@each_reference
@ON_LOOP
async def test_every_route_is_in_the_table(reference: Path, tmp_path: Path) -> None:
    """And nothing is in the table that has no route."""
    documented = _documented_routes(reference)
    rules = await _routes(tmp_path)
    for method, path in documented:
        handler = next((h for pattern, h in rules if re.fullmatch(pattern, path)), None)
        assert handler is not None, path
        if isinstance(handler, SocketRouter):
            assert method == "GET"
            continue
        assert getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())
    for pattern, _ in rules:
        assert any(re.fullmatch(pattern, path) for _, path in documented), pattern


def test_every_setting_of_a_client_is_in_the_table() -> None:
    """config.yaml has no room for them."""
    rows = table(ROOT / "docs" / "openid.md", "`secret`")
    assert {row[0].strip("`") for row in rows} == set(ClientSettings.model_fields)


def test_every_claim_is_in_the_table() -> None:
    """Those that discovery names, and what only access tokens have."""
    rows = table(ROOT / "docs" / "openid.md", "`sub`")
    named = {claim for row in rows for claim in spans(row[0])}
    assert named == {*CLAIMS, "client_id", "scope", "jti"}


def test_the_readmes_are_short() -> None:
    """The rest has pages of its own."""
    for page in READMES:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 150


def test_what_a_chinese_operator_needs_is_translated() -> None:
    """What to choose, deploy, embed, set up and run, login kinds, errors, and the reference."""
    names = [page.stem for page in TRANSLATED]
    assert names == [
        *("choosing", "deployment", "embedding", "errors", "going-live", "login-kinds", "openid"),
        *("operations", "reference", "sessions"),
    ]


def test_the_figures_of_the_readme_were_measured() -> None:
    """Each of them, and the command that shows it, is in docs/performance.md."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for _, ours, stock, command in table(READMES[0], "user memory"):
        assert command.strip("`") in page
        for figure in re.findall(r"\d[\d.,]*", f"{ours} {stock}"):
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,]*\d)", page), figure


@each_translation
def test_a_translation_has_the_same_parts(english: Path, chinese: Path) -> None:
    """Headings by level, blocks of code but for their comments, names and figures in the text."""
    levels = [[head.split(" ")[0] for head in headings(page)] for page in (english, chinese)]
    assert levels[0] == levels[1]
    code = [[_without_comments(block) for block in blocks(page)] for page in (english, chinese)]
    assert code[0] == code[1]
    assert Counter(spans(prose(english))) == Counter(spans(prose(chinese)))
    assert _figures(prose(english)) <= _figures(prose(chinese))


def _without_comments(block: str) -> str:
    return re.sub(r" +(//|#) .*$", "", block, flags=re.MULTILINE)


@each_translation
def test_a_translation_has_the_same_tables(english: Path, chinese: Path) -> None:
    """With as many rows and columns, and in each cell the same names and figures.

    Names are in backticks. A month is a figure in Chinese only.
    """
    ours, theirs = list(tables(english)), list(tables(chinese))
    assert len(ours) == len(theirs)
    for row, twin in zip(_rows(ours), _rows(theirs), strict=True):
        assert len(row) == len(twin)
        for cell, translated in zip(row, twin, strict=True):
            assert sorted(spans(cell)) == sorted(spans(translated)), translated
            assert _figures(cell) <= _figures(translated), translated


def _figures(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+", text))


def _rows(of: list[list[list[str]]]) -> list[list[str]]:
    """All rows, with an empty one after each table."""
    return [row for rows in of for row in (*rows, [""])]


def test_every_threat_names_tests_that_exist() -> None:
    """C1 to C30 and what came later, each once."""
    rows = table(SECURITY, "C1")
    assert [row[0] for row in rows] == [f"C{number}" for number in (*range(1, 31), 35)]
    named = {span for row in rows for span in spans(row[3])}
    tests = ROOT / "tests"
    for name in named:
        assert (tests / name).exists() or any(tests.rglob(name)), name


def test_the_signature_check_of_the_hook_page_works() -> None:
    """Copied as it stands, it accepts scanpush's signature, and neither another body nor an old
    one."""
    page = (ROOT / "docs" / "hook.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    body, now = b'{"type":"registration"}', int(time.time())
    for stamp, sent, accepted in ((now, body, True), (now, b"{}", False), (now - 301, body, False)):
        headers = {
            hooks.TIMESTAMP_HEADER: str(stamp),
            hooks.SIGNATURE_HEADER: hooks.signature("s" * 16, str(stamp), body),
        }
        assert names["genuine"]("s" * 16, headers, sent) is accepted


EVENTS_SECRET = "whsec_c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5zLTMyYnk="


def event_headers(stamp: int, body: bytes) -> dict[str, str]:
    key = base64.b64decode(EVENTS_SECRET.removeprefix("whsec_"))
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": delivery.signature(key, "evt_1", str(stamp), body),
    }


def test_the_receivers_of_the_page_of_events_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied as they stand, in Python and Node: each takes an event of this server, and refuses
    another body and an old timestamp."""
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    body = b'{"type": "login", "timestamp": "", "data": {"user": "u1"}}'
    now = int(time.time())
    tries = [(now, body, True), (now, b"{}", False), (now - 301, body, False)]
    tries_as_json = [[event_headers(at, body), sent.decode(), ok] for at, sent, ok in tries]
    python = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert python is not None
    monkeypatch.setenv("EVENTS_SECRET", EVENTS_SECRET)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(python[1], names)
    client = names["app"].test_client()
    for headers, sent, taken in tries_as_json:
        answer = client.post("/scanpush", data=sent, headers=headers)
        assert answer.status_code == (204 if taken else 401)
    node = re.search(r"```js\n(.*?)```", page, re.DOTALL)
    assert node is not None
    checks = f"""
    for (const [headers, sent, taken] of {json.dumps(tries_as_json)})
      if (genuine(headers, Buffer.from(sent)) !== taken) process.exit(9);
    server.close();
    """
    program = need("node", hint="Debian's package nodejs has it")
    ran = subprocess.run(
        [program, "--input-type=module", "-e", node[1] + checks],
        env={**os.environ, "PORT": "0"},
        timeout=60,
    )
    assert ran.returncode == 0


def test_the_page_of_events_names_the_pauses_and_types() -> None:
    """Those of the code."""
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    first = [f"{pause:.0f}" for pause in delivery.PAUSES[:3]]
    assert f"after {first[0]}, {first[1]} and {first[2]} seconds" in page
    assert {name for name in entries.TOLD if f"`{name}`" not in page} == set()
    assert {word for word in entries.OUTCOMES.values() if f"`{word}`" not in page} == set()


def test_every_deed_of_the_operator_is_named_and_offered() -> None:
    """In the table of the audit's parameters, and in the list of the page's search."""
    paths = yaml.safe_load((ROOT / "handlers" / "openapi.yaml").read_text())["paths"]
    deeds = {"get users export", "get access_token"}
    for path in (path for path in paths if path.startswith("/api/operator/")):
        words = [word for word in path.split("/")[3:] if not word.startswith("{")]
        for method in {"post", "put", "patch", "delete"} & set(paths[path]):
            deeds.add(" ".join(words if method == "post" else [method, *words]))
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert [deed for deed in deeds if f"`{deed}`" not in page] == []
    offered = (ROOT / "static" / "operator-audit.js").read_text()
    assert [deed for deed in deeds if f'"{deed}"' not in offered] == []


def test_the_hook_page_says_how_often_it_is_told() -> None:
    """The pauses are those of the code."""
    page = (ROOT / "docs" / "hook.md").read_text(encoding="utf-8")
    *most, last = (f"{pause:.0f}" for pause in hooks.PAUSES)
    assert f"after {', '.join(most)} and {last} seconds" in page
