"""The sources of settings: the YAML file, and over it the environment.

Both give plain values; the models decide what they may be. No setting is named here.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from services.errors import SettingsError

PREFIX = "SCANPUSH_"
"""The variable of ``login.confirm`` is ``SCANPUSH_LOGIN__CONFIRM``: prefix, then the dotted key in
capitals with `SEPARATOR` for each dot, and `FILE_ENDING` behind it where the value is the path of a
file that holds it."""
TEST_PREFIX = "SCANPUSH_TEST_"
"""These variables are the test runner's, whose servers inherit its environment."""
SEPARATOR = "__"
FILE_ENDING = "_FILE"
MOST_SECRET_BYTES = 65_536
"""More than any key or token needs."""

_PORT = r"[0-9]{1,5}"
_IP = r"[0-9.]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+"
_MADE_VARIABLES = tuple(
    (re.compile(rf"SCANPUSH(_\w+)?{name}", re.ASCII), re.compile(value, re.ASCII | re.IGNORECASE))
    for name, value in (
        (r"_SERVICE_HOST", _IP),
        (r"_SERVICE_PORT(_[A-Z0-9_]+)?", _PORT),
        (
            r"_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(START|END))?|_(START|END))?",
            r"(tcp|udp|sctp)://\S+:[0-9]+",
        ),
        (r"_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
        (r"_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT", _PORT),
        (r"_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR", _IP),
        (r"_NAME", r"/[\w./-]+/[\w.-]+"),
    )
)
"""Names and values of the variables that Kubernetes makes in each container for the Services of its
namespace (kubernetes.io, "Discovering services"), and Docker for its legacy links."""
_LINKED_VARIABLE = re.compile(r"(SCANPUSH(?:_[A-Z0-9_]+?)?)_(ENV_\w+)", re.ASCII)
"""A variable of a linked container's own environment; its value may be anything."""

Values = MutableMapping[str, Any]


class _DuplicateKey(Exception):
    def __init__(self, name: str, line: int) -> None:
        super().__init__(name)
        self.name = name
        self.line = line


def read_file(path: Path) -> dict[str, Any]:
    """The values of the YAML file; an empty file has none.

    A key without a value is left out, so that it keeps its default. Errors give the line's
    number and do not quote it: it may hold a secret.
    """
    try:
        values = _parse(path.read_text(encoding="utf-8-sig"), f"the settings file {path}")
    except OSError as error:
        raise SettingsError("", f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError("", f"the settings file {path} is not UTF-8") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError("", f"the settings file {path} must hold keys and values")
    return _without_nulls(values)


def _parse(text: str, what: str) -> Any:
    try:
        _refuse_duplicates(yaml.compose(text, yaml.SafeLoader), set())
        return yaml.safe_load(text)
    except _DuplicateKey as error:
        raise SettingsError(error.name, f"is given twice in {what}, line {error.line}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(
            "", f"{what} is not valid YAML{place} (check indentation; quote special characters)"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SettingsError("", f"{what} is not valid YAML") from None


def _refuse_duplicates(node: Any, seen: set[int], within: str = "") -> None:
    """Raise `_DuplicateKey`: of two equal keys PyYAML silently takes the second."""
    if id(node) in seen:  # an alias, perhaps in a circle
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, seen, within)
    elif isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            name = f"{within}{key.value}" if isinstance(key, yaml.ScalarNode) else within
            if name in names:
                raise _DuplicateKey(name, key.start_mark.line + 1)
            names.add(name)
            _refuse_duplicates(value, seen, f"{name}.")


def _without_nulls(values: dict[Any, Any]) -> dict[Any, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def overlay(
    root: type[BaseModel], values: Values, environ: Mapping[str, str]
) -> Mapping[tuple[str, ...], str]:
    """Write the ``SCANPUSH_`` variables of `environ` over `values`.

    Returns which variable set which key, for error messages. A whole section or list may be given
    as YAML (which includes JSON), a list also with commas. A longer name, being more exact, wins
    over the section it is in. Those of `service_variables` are no settings.
    """
    origins: dict[tuple[str, ...], str] = {}
    foreign = service_variables(root, environ)
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable in foreign:
            continue
        key, kind, from_file = _find(root, values, variable)
        if key in origins:
            raise SettingsError(".".join(key), f"is set by both {origins[key]} and {variable}")
        origins[key] = variable
        text = _content(key, variable, environ[variable]) if from_file else environ[variable]
        _put(values, key, _value(kind, text, variable))
    return origins


def service_variables(root: type[BaseModel], environ: Mapping[str, str]) -> list[str]:
    """The variables that Kubernetes or Docker made for a Service or a link whose name begins with
    scanpush, and that set nothing here.

    A mistyped setting may have such a name, so the value must fit as well. For what a linked
    container has in its own environment, it is the rest of the link that must be there, or the name
    must be like that of no setting.
    """
    made = {
        variable
        for variable, value in environ.items()
        if any(name.fullmatch(variable) and form.fullmatch(value) for name, form in _MADE_VARIABLES)
    }
    settings = _variables(root)
    for variable in environ:
        if linked := _LINKED_VARIABLE.fullmatch(variable):
            like_a_setting = SEPARATOR in variable or any(
                name.endswith(f"_{linked[2].upper()}") for name in settings
            )
            if f"{linked[1]}_NAME" in made or not like_a_setting:
                made.add(variable)
    return sorted(variable for variable in made if not _sets_something(root, variable))


def _sets_something(root: type[BaseModel], variable: str) -> bool:
    name = variable[len(PREFIX) :]
    plain = name[: -len(FILE_ENDING)] if name.upper().endswith(FILE_ENDING) else name
    return any(_walk(root, {}, text.split(SEPARATOR)) for text in (name, plain))


def _find(
    root: type[BaseModel], values: Values, variable: str
) -> tuple[tuple[str, ...], Any, bool]:
    """The key that `variable` sets, the kind of value there, and whether it names a file."""
    name = variable[len(PREFIX) :]
    found = _walk(root, values, name.split(SEPARATOR))
    if found is not None:
        return *found, False
    if name.upper().endswith(FILE_ENDING):
        found = _walk(root, values, name[: -len(FILE_ENDING)].split(SEPARATOR))
        if found is not None:
            if found[1] is SecretStr:
                return *found, True
            raise SettingsError(variable, f"only secrets are read from files, not {found[0][-1]}")
    known = _variables(root)
    within = [setting for setting in known if setting.endswith(f"{SEPARATOR}{name.upper()}")]
    raise SettingsError(variable, f"sets nothing known{_nearest(variable, within or known)}")


def _walk(
    root: type[BaseModel], values: Values, names: Iterable[str]
) -> tuple[tuple[str, ...], Any] | None:
    key: list[str] = []
    kind: Any = root
    here: Any = values
    for name in names:
        known = here if isinstance(here, Mapping) else {}
        part = _part(kind, known, name)
        kind = _kind_of(kind, part)
        if kind is None:
            return None
        here = known.get(part)
        key.append(part)
    return tuple(key), kind


def _part(kind: Any, known: Mapping[str, Any], name: str) -> str:
    """The key meant by one part of a variable's name, which has no case and no hyphens."""
    if _is_model(kind):
        return name.lower()
    plain = name.lower().replace("-", "_")
    same = (key for key in known if str(key).lower().replace("-", "_") == plain)
    return next(same, name.lower())


def _kind_of(kind: Any, part: str) -> Any:
    """What stands under `part` in a value of this kind, or None when nothing can."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return field.annotation if field is not None else None
    if get_origin(kind) is Mapping and part:
        return get_args(kind)[1]
    return None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _content(key: tuple[str, ...], variable: str, path: str) -> str:
    """The secret in that file, without a byte order mark and line feeds around it."""
    try:
        # A device such as /dev/zero has no end, and no secret is that long.
        with open(path, "rb") as file:
            raw = file.read(MOST_SECRET_BYTES + 1)
        content = raw.decode("utf-8").lstrip("\ufeff").rstrip("\r\n")
        if len(raw) > MOST_SECRET_BYTES:
            problem = f"holds more than {MOST_SECRET_BYTES // 1024} KiB, so it is no secret"
        elif content and "\0" not in content:
            return content
        else:
            problem = "not UTF-8 text, but perhaps UTF-16" if content else "is empty"
    except OSError as error:
        problem = error.strerror or "cannot be read"
    except ValueError:
        problem = "not UTF-8 text"
    raise SettingsError(".".join(key), f"the file named by {variable}: {problem}")


def _value(kind: Any, text: str, variable: str) -> Any:
    """The text of a variable as a value for pydantic, which parses numbers and booleans."""
    if get_origin(kind) is tuple and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    if get_origin(kind) in (tuple, Mapping) or _is_model(kind):
        value = _parse(text, variable)
        return {} if value is None else value
    return text


def _put(values: Values, key: tuple[str, ...], value: Any) -> None:
    *sections, last = key
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, MutableMapping):
            return  # the file is wrong there, and the models will say so
        values = inner
    values[last] = value


def _variables(kind: Any, prefix: str = PREFIX) -> list[str]:
    """The names of all variables that do not depend on what is in the file."""
    names = []
    for name, field in kind.model_fields.items():
        variable = prefix + name.upper()
        names.append(variable)
        if _is_model(field.annotation):
            names.extend(_variables(field.annotation, variable + SEPARATOR))
    return names


_PROBLEMS = MappingProxyType(
    {
        "string_type": "must be text; put it in quotes",
        "string_too_short": "is empty",
        "string_pattern_mismatch": "has characters that are not allowed here, or too many of them",
        "model_type": "must hold keys and values",
        "dict_type": "must hold keys and values",
        "mapping_type": "must hold keys and values",
        "invalid_key": "must be a name; put it in quotes",
        "too_short": "needs at least one entry",
        "tuple_type": "must be a list",
        "path_type": "must be a path; put it in quotes",
    }
)
"""Messages by pydantic's error type, where its own words are for programmers."""


def in_one_line(
    root: type[BaseModel], error: ValidationError, origins: Mapping[tuple[str, ...], str]
) -> SettingsError:
    """The first mistake pydantic found, as one line without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = tuple(str(part) for part in first["loc"] if part != "[key]")
    problem = _problem(root, key, first["type"], first["msg"])
    setter = next(
        (origins[key[:end]] for end in range(len(key), 0, -1) if key[:end] in origins), ""
    )
    return SettingsError(".".join(key), f"{problem} (set by {setter})" if setter else problem)


def _problem(root: type[BaseModel], key: tuple[str, ...], kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        section: Any = root
        for part in key[:-1]:
            section = _kind_of(section, part)
        known = list(section.model_fields) if _is_model(section) else []
        return f"unknown setting{_nearest(key[-1], known)}"
    if kind in _PROBLEMS:
        return _PROBLEMS[kind]
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
