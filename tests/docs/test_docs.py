"""What the documents say is what the code does, wherever a machine can tell."""

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel
from tornado.web import RequestHandler

from handlers.routes import routes
from services import hooks
from services.errors import STATUS
from services.metrics import MetricName
from services.push.close_codes import CloseCode
from services.scenes.states import FINAL, NEXT, State
from services.scenes.status import FAILURES, document
from services.settings.models import Settings
from services.wechat.errcodes import TABLE, Action
from tests.docs.pages import PAGES, READMES, ROOT, anchors, links, prose, spans, table, tables
from tests.services.scenes.test_status import SCENE
from tests.stack import ON_LOOP, Stack

ERRORS = ROOT / "docs" / "errors.md"
SECURITY = ROOT / "docs" / "security.md"
TYPES = ROOT / "static" / "scan-login.d.ts"

each_readme = pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository, and a heading in it."""
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), link
        assert not parts.fragment or parts.fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_and_pages_named_in_code_exist(page: Path) -> None:
    """A command or file that a reader is sent to is there."""
    for name in re.findall(r"\b(?:scripts/\w+|services/[\w/]+\.\w+|tests/[\w/]+)", prose(page)):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


def test_every_error_code_is_in_the_table() -> None:
    """Exactly those of `errors.STATUS`, with their HTTP status."""
    rows = {row[0].strip("`"): int(row[1]) for row in table(ERRORS, "`bad_request`")}
    assert rows == dict(STATUS)


def test_every_failure_is_in_the_table() -> None:
    """What `error.code` of a failed scene may be."""
    assert {row[0].strip("`") for row in table(ERRORS, "`try_again`")} == set(FAILURES)


def test_every_errcode_of_wechat_is_in_the_table() -> None:
    """Number, meaning, action and code of every row; nothing more."""
    rows = [tuple(cell.strip("`") for cell in row) for row in table(ERRORS, "-1")]
    assert rows == [(str(r.errcode), r.meaning, r.action.value, r.code) for r in TABLE.values()]
    assert [row[0] for row in table(ERRORS, "retry")] == [action.value for action in Action]


def test_every_metric_is_in_the_table() -> None:
    """Name and sentence, as Prometheus shows them."""
    rows = table(ROOT / "docs" / "metrics.md", "`scanpush_")
    assert [(row[0].strip("`"), row[1]) for row in rows] == [(m.value, m.help) for m in MetricName]


@each_readme
def test_every_state_is_in_the_table(readme: Path) -> None:
    """With exactly the states it may go on to."""
    *rows, final = table(readme, "`waiting`")
    assert set(spans(final[0])) == FINAL
    assert {row[0].strip("`") for row in rows} == set(State) - FINAL
    for row in rows:
        assert set(re.split("[,、] ?", row[2])) == NEXT[State(row[0].strip("`"))]


@pytest.mark.parametrize("page", [*READMES, TYPES], ids=lambda page: page.name)
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
    return {field for scene in scenes for field in document(scene, 0, lambda _: "signed")}


@each_readme
def test_every_close_code_is_in_the_table(readme: Path) -> None:
    """Those that the server sends, and 1006, which no endpoint sends."""
    codes = {int(n) for row in table(readme, "1000") for n in re.findall(r"\d+", row[0])}
    assert codes == {code.value for code in CloseCode} | {1006}


def _documented_routes(readme: Path) -> set[tuple[str, str]]:
    """(method, path) of the table, with something for each placeholder."""
    found = set()
    for span in (span for row in table(readme, "`GET /`") for span in spans(row[0])):
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


@each_readme
@ON_LOOP
async def test_every_route_is_in_the_table(readme: Path, tmp_path: Path) -> None:
    """And nothing is in the table that has no route. Sockets have a way of their own."""
    documented = _documented_routes(readme) - {("GET", "/ws/x.txt")}
    rules = await _routes(tmp_path)
    for method, path in documented:
        handler = next((h for pattern, h in rules if re.fullmatch(pattern, path)), None)
        assert handler is not None, path
        assert getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())
    for pattern, _ in rules:
        assert any(re.fullmatch(pattern, path) for _, path in documented), pattern


def test_both_readmes_say_the_same() -> None:
    """The same tables in the same order, with the same names in their first columns."""
    english, chinese = (list(tables(page)) for page in READMES)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        assert [spans(row[0]) for row in ours] == [spans(row[0]) for row in theirs]


def test_every_threat_names_tests_that_exist() -> None:
    """C1 to C30, each once."""
    rows = table(SECURITY, "C1")
    assert [row[0] for row in rows] == [f"C{number}" for number in range(1, 31)]
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


def test_the_hook_page_says_how_often_it_is_told() -> None:
    """The pauses are those of the code."""
    page = (ROOT / "docs" / "hook.md").read_text(encoding="utf-8")
    *most, last = (f"{pause:.0f}" for pause in hooks.PAUSES)
    assert f"after {', '.join(most)} and {last} seconds" in page
