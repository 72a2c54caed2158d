"""The rules that keep the tree as CONTRIBUTING.md draws it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from services.errors import STATUS

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = {
    400: {"bad_request", "unknown_account", "unknown_kind"},
    401: {"unauthorized"},
    403: {"forbidden_origin", "forbidden"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {"stale_seq", "already_claimed", "wrong_door", "conflict"},
    410: {"gone"},
    413: {"too_large"},
    426: {"upgrade_required"},
    429: {"rate_limited", "slow_down"},
    500: {"internal"},
    502: {"wechat_unavailable", "wechat_refused", "wechat_ip_not_allowed", "wechat_credentials"},
    503: {"wechat_quota", "overloaded", "store_unavailable"},
}
"""The table of docs/contract.md, and three codes of HTTP itself: 405, 426 and 500."""

PARTS = ("Service", "Store", "Client", "Issuer", "Database", "Hub", "Parking")
"""Endings of names of what only the container may make."""

BUILDERS = ("build_", "make_", "open")
"""Functions of these names make something for the container, and are called by it alone."""

OWN_PARTS = {
    "services/push/service.py": "puts the push side together",
    "services/settings/mongodb_url.py": "tries options on a client that never connects",
}

EDGES = {
    "handlers/api_request.py": "a request",
    "handlers/callbacks.py": "a callback",
    "services/scenes/sweeper.py": "one left login, or one round of a task that must go on",
    "services/tasks.py": "a background task",
    "services/sqlite.py": "another module's job in the writer thread",
    "services/tokens/keys.py": "a temporary file is removed, and the failure goes on",
}
"""Where everything may be caught, and what ends there."""


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every call by the last part of its name, with its line; builders are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith(BUILDERS):
                continue
        if isinstance(node, ast.Call):
            yield getattr(node.func, "id", getattr(node.func, "attr", "")), node.lineno
        yield from calls(node)


def imported_files(path: Path) -> Iterator[Path]:
    """The files of the project that a file imports; imports inside functions and below
    TYPE_CHECKING count."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            file = ROOT / f"{name.replace('.', '/')}.py"
            package = ROOT / name.replace(".", "/") / "__init__.py"
            if file.exists() or (package.exists() and package.read_text()):
                yield file if file.exists() else package


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way from some node back to itself, or nothing."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := walk(following, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


FLOORS = (
    ("server.py",),
    ("handlers/", "doctor/", "migration/"),
    ("services/container.py",),
    ("services/backends.py", "services/operator.py", "services/operator_api.py"),
    ("services/push/", "services/web_login/", "services/oidc/"),
    ("services/scenes/",),
    ("services/wechat/",),
    ("services/sessions/", "services/screens/"),
    ("services/events/",),
    ("services/people/", "services/tokens/"),
    ("services/",),  # the ground floor: every other file
)
"""From the top down. A file imports from floors below its own, and from its own folder."""


def floor_of(name: str) -> int:
    return next(n for n, floor in enumerate(FLOORS) if name.startswith(floor))


def folder_of(name: str) -> str:
    """The folder as a room; the files on the ground floor are rooms of their own."""
    folder = name.rpartition("/")[0]
    return name if folder == "services" else folder


def product() -> list[Path]:
    return [ROOT / "server.py", *modules("handlers", "doctor", "migration", "services")]


def test_services_know_no_tornado() -> None:
    """The web framework is the handlers' matter."""
    for path in modules("services"):
        assert not [n for n in imports(path) if n.split(".")[0] == "tornado"], path


def test_imports_point_one_way() -> None:
    """From the entry point to the handlers to the services, which do not know the simulator."""
    for path in modules("services"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & {"handlers", "doctor", "tests", "bench", "server", "simulator"}, path


def test_the_doctor_knows_only_services() -> None:
    """It runs without the server: no web framework, and no simulated WeChat of its own."""
    for path in modules("doctor"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & {"tornado", "handlers", "tests", "bench", "server", "simulator"}, path


def test_imports_lead_down() -> None:
    """Never to a floor above, nor to another folder of the same floor."""
    for path in product():
        name = name_of(path)
        for other in map(name_of, imported_files(path)):
            if other.startswith("simulator/"):
                continue
            here, there = floor_of(name), floor_of(other)
            ground = here == there == len(FLOORS) - 1
            assert there > here or ground or folder_of(other) == folder_of(name), (name, other)


def test_there_is_no_circle() -> None:
    """Neither of files nor of folders."""
    files = {name_of(path): set(map(name_of, imported_files(path))) for path in product()}
    assert circle(files) == []
    folders: dict[str, set[str]] = {}
    for name, others in files.items():
        room = folders.setdefault(folder_of(name), set())
        room |= {folder_of(other) for other in others} - {folder_of(name)}
    assert circle(folders) == []


def test_a_circle_is_found() -> None:
    """Also one that is reached from outside of it."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_only_the_container_builds() -> None:
    """Everything else is given what it needs."""
    for path in modules("handlers", "services"):
        if name_of(path) == "services/container.py" or name_of(path) in OWN_PARTS:
            continue
        source = path.read_text()
        made = [
            (name, line)
            for name, line in calls(ast.parse(source))
            if name.endswith(PARTS) and name[0].isupper() and f"class {name}" not in source
        ]
        assert made == [], path


def test_background_tasks_belong_to_the_supervisor() -> None:
    """A task to which there is no reference may vanish, and its failure with it."""
    for path in modules("handlers", "services"):
        if name_of(path) != "services/tasks.py":
            lines = [n for name, n in calls(ast.parse(path.read_text())) if name == "create_task"]
            assert lines == [], path


def test_failures_are_caught_by_name() -> None:
    """No bare except and nothing swallowed; everything is caught only at the named edges."""
    for path in modules("handlers", "doctor", "migration", "services"):
        for node in nodes(path):
            if not isinstance(node, ast.ExceptHandler):
                continue
            where = (name_of(path), node.lineno)
            assert node.type is not None, where
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), where
            if getattr(node.type, "id", "") in ("Exception", "BaseException"):
                assert name_of(path) in EDGES, where


def test_the_codes_are_those_of_the_contract() -> None:
    """Every code with its status; a new one has to be written into docs/contract.md first."""
    by_status: dict[int, set[str]] = {}
    for code, status in STATUS.items():
        by_status.setdefault(status, set()).add(code)
    assert by_status == CONTRACT


def test_every_error_that_is_raised_is_of_the_contract() -> None:
    """`ApiError` is never made with a code that has no status."""
    for path in modules("handlers", "services"):
        for node in nodes(path):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError":
                code = node.args[0] if node.args else None
                if isinstance(code, ast.Constant):
                    assert code.value in STATUS, (name_of(path), node.lineno)


def test_nothing_is_left_to_do() -> None:
    """No notes to oneself in the code."""
    for path in [*modules("handlers", "doctor", "services", "simulator"), ROOT / "server.py"]:
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text()), path


def test_routes_are_in_one_table() -> None:
    """Only routes.py makes an Application."""
    makers = {
        name_of(path)
        for path in modules("handlers", "services")
        if "Application(" in path.read_text()
    }
    assert makers == {"handlers/routes.py"}
