"""services.settings: what loads, what stops the start, and that one line says why."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from services.errors import SettingsError
from services.settings import models, sources
from services.settings.models import AccountSettings, Settings, load_settings, simulated
from services.settings.sources import service_variables

SHIPPED = Path(__file__).parents[2] / "config.yaml"
SECRET = "0123456789abcdef0123456789abcdef"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
EVENTS_SECRET = "whsec_" + "c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5z"
ACCOUNT = {
    "app_id": "wx1234567890abcdef",
    "app_secret": SECRET,
    "callback_token": "pushtoken2024",
    "encoding_aes_key": AES_KEY,
}


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(
    folder: Path, values: Mapping[str, Any] | str = "", **environ: str | os.PathLike[str]
) -> Settings:
    """Settings from values, and from variables given without their prefix."""
    text = values if isinstance(values, str) else yaml.safe_dump(dict(values), sort_keys=False)
    variables = {f"SCANPUSH_{name}": str(value) for name, value in environ.items()}
    return load_settings(written(folder, text), variables)


def mistake(folder: Path, values: Mapping[str, Any] | str = "", **environ: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, values, **environ)
    assert "\n" not in str(caught.value)
    return caught.value


def account(**changes: Any) -> dict[str, Any]:
    return {"wechat": {"accounts": {"default": ACCOUNT | changes}}}


def distributed(mongodb_url: str) -> dict[str, Any]:
    return {"backend": "distributed", "mongodb": {"url": mongodb_url, "database": "people"}}


def model_keys(model: type[BaseModel], values: Mapping[str, Any], prefix: str = "") -> set[str]:
    """The dotted keys that models know and `values` lacks."""
    missing = set()
    for name, field in model.model_fields.items():
        if name not in values:
            missing.add(prefix + name)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            missing |= model_keys(field.annotation, values[name], f"{prefix}{name}.")
    return missing


def test_the_shipped_file_holds_exactly_the_defaults(tmp_path: Path) -> None:
    """What config.yaml says and what the code says are one and the same."""
    shipped = load_settings(SHIPPED, {})
    empty = load_settings(written(tmp_path, ""), {})
    assert shipped.model_dump(exclude={"embedded": {"path"}, "jwt": {"key_file"}}) == (
        empty.model_dump(exclude={"embedded": {"path"}, "jwt": {"key_file"}})
    )


def test_the_shipped_file_names_every_setting() -> None:
    """No setting is hidden from the operator, those of an account included."""
    values = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert model_keys(Settings, values) == set()
    assert model_keys(AccountSettings, values["wechat"]["accounts"]["default"]) == set()


def test_every_line_of_the_shipped_file_has_a_comment() -> None:
    """Each setting is explained where it stands."""
    bare = [
        line
        for line in SHIPPED.read_text(encoding="utf-8").splitlines()
        if line and "#" not in line and not line.endswith(":")
    ]
    assert bare == []


def test_models_are_frozen() -> None:
    """No code can change a setting after the start."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().server.port = 1  # type: ignore[misc]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Starting from another folder opens the same database."""
    settings = loaded(tmp_path, {"embedded": {"path": "a/b.db"}})
    assert settings.embedded.path == tmp_path / "a/b.db"
    assert settings.jwt.key_file == tmp_path / "data/jwt-keys.json"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    """Only relative paths are moved."""
    assert loaded(tmp_path, EMBEDDED__PATH="/srv/x.db").embedded.path == Path("/srv/x.db")


def test_a_key_without_a_value_keeps_its_default(tmp_path: Path) -> None:
    """A section whose lines are all commented out is no mistake."""
    assert loaded(tmp_path, "kiosks:\nserver:\n  port:\n").server.port == 8888


# The environment


def test_the_environment_wins(tmp_path: Path) -> None:
    """A variable overrides the file and is read as the setting's type."""
    settings = loaded(
        tmp_path,
        {"server": {"port": 1}},
        SERVER__PORT="2",
        WECHAT__SIMULATOR="false",
        WECHAT__ACCOUNTS__DEFAULT__FORWARD_LOGINS="no",
        KIOSK_TTL_SECONDS="60",
        WECHAT__ACCOUNTS__DEFAULT__MODE="plaintext",
        WECHAT__WEBSITE__APP_ID="wxsite",
        WECHAT__WEBSITE__APP_SECRET=SECRET,
    )
    assert settings.server.port == 2
    assert settings.kiosk_ttl_seconds == 60
    assert settings.wechat.simulator is False


@pytest.mark.parametrize(
    ("text", "value"), [("auto", "auto"), ("0", 0), ("AUTO", "auto"), ("20", 20)]
)
def test_codes_ahead_is_a_word_or_a_number(tmp_path: Path, text: str, value: str | int) -> None:
    """In the environment both are text."""
    settings = loaded(tmp_path, {}, WECHAT__CODES_AHEAD=text)
    assert settings.wechat.codes_ahead == value


def test_a_variable_reaches_into_an_account(tmp_path: Path) -> None:
    """A secret need not stand in the file."""
    values = account(app_secret="")
    settings = loaded(tmp_path, values, WECHAT__ACCOUNTS__DEFAULT__APP_SECRET=SECRET)
    assert settings.wechat.accounts["default"].app_secret.get_secret_value() == SECRET


def test_a_variable_finds_a_name_with_a_hyphen(tmp_path: Path) -> None:
    """Shells know no hyphens in names: an underscore stands for one."""
    values = {"kiosks": {"lobby-3": {"label": "Lobby"}}}
    settings = loaded(tmp_path, values, KIOSKS__LOBBY_3__SECRET=SECRET)
    assert list(settings.kiosks) == ["lobby-3"]


def test_the_environment_alone_makes_an_account(tmp_path: Path) -> None:
    """An account that is not in the file is created, and the untouched default gives way to it."""
    variables = {f"WECHAT__ACCOUNTS__SHOP__{key.upper()}": text for key, text in ACCOUNT.items()}
    settings = loaded(tmp_path, SHIPPED.read_text(encoding="utf-8"), **variables)
    assert list(settings.wechat.accounts) == ["shop"]
    assert not simulated(settings)


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """The trailing newline that editors add is not part of it."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    settings = loaded(tmp_path, OPERATOR__TOKEN_FILE=secret)
    assert settings.operator.token.get_secret_value() == SECRET


def test_a_missing_secret_file_stops_the_start(tmp_path: Path) -> None:
    """The key and the variable are named."""
    error = mistake(tmp_path, OPERATOR__TOKEN_FILE=tmp_path / "none")
    assert error.key == "operator.token"
    assert "SCANPUSH_OPERATOR__TOKEN_FILE" in error.problem


def test_an_empty_secret_file_stops_the_start(tmp_path: Path) -> None:
    """A secret that was never mounted must not switch off what it protects."""
    secret = tmp_path / "secret"
    secret.write_text("\n")
    error = mistake(tmp_path, OPERATOR__TOKEN_FILE=secret)
    assert error.key == "operator.token" and "is empty" in error.problem


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    """A device that never ends is read only so far that it can be told from a secret."""
    error = mistake(tmp_path, OPERATOR__TOKEN_FILE="/dev/zero")
    assert error.key == "operator.token" and "more than 64 KiB" in error.problem


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    """A port is not a secret."""
    assert "only secrets" in mistake(tmp_path, SERVER__PORT_FILE="x").problem


def test_a_setting_named_key_file_is_no_secret_file(tmp_path: Path) -> None:
    """jwt.key_file ends like a file of a secret and is none."""
    assert loaded(tmp_path, JWT__KEY_FILE="keys.json").jwt.key_file == tmp_path / "keys.json"


@pytest.mark.parametrize(
    "text", ["http://a.test,http://b.test", '["http://a.test","http://b.test"]']
)
def test_a_list_comes_with_commas_or_as_json(tmp_path: Path, text: str) -> None:
    """Both spellings mean the same."""
    origins = loaded(tmp_path, SERVER__ALLOWED_ORIGINS=text).server.allowed_origins
    assert origins == ("http://a.test", "http://b.test")


def test_a_section_comes_as_json(tmp_path: Path) -> None:
    """A whole mapping in one variable."""
    settings = loaded(tmp_path, KIOSKS='{"lobby": {"label": "L", "secret": "%s"}}' % SECRET)
    assert settings.kiosks["lobby"].label == "L"


def test_an_empty_variable_empties_a_section(tmp_path: Path) -> None:
    """Compose files pass on variables that were left empty."""
    assert loaded(tmp_path, {"kiosks": {"a": {"secret": SECRET}}}, KIOSKS="").kiosks == {}


def test_a_variable_does_not_hide_a_mistake_of_the_file(tmp_path: Path) -> None:
    """A section that is no section stays one."""
    assert mistake(tmp_path, {"server": 5}, SERVER__PORT="1").key == "server"


def test_an_unknown_variable_stops_the_start(tmp_path: Path) -> None:
    """A misspelt override is worse than none: the nearest name is offered."""
    error = mistake(tmp_path, SERVER__PROT="1")
    assert error.key == "SCANPUSH_SERVER__PROT"
    assert "SCANPUSH_SERVER__PORT" in error.problem


def test_two_variables_for_one_key_stop_the_start(tmp_path: Path) -> None:
    """Which one would win is not for the operator to guess."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    error = mistake(tmp_path, OPERATOR__TOKEN=SECRET, OPERATOR__TOKEN_FILE=secret)
    assert error.key == "operator.token" and "both" in error.problem


def test_a_wrong_variable_is_named_beside_the_key(tmp_path: Path) -> None:
    """The operator looks in the right place."""
    error = mistake(tmp_path, SERVER__PORT="many")
    assert error.key == "server.port" and "SCANPUSH_SERVER__PORT" in error.problem


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    """Only scanpush's prefix counts."""
    assert (
        load_settings(written(tmp_path, ""), {"PATH": "x", "SCANPUSHER": "y"}).server.port == 8888
    )


# Mistakes of the file


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No traceback for a wrong --config."""
    with pytest.raises(SettingsError, match="nothing.yaml: No such file"):
        load_settings(tmp_path / "nothing.yaml", {})


def test_a_syntax_error_tells_the_line_and_quotes_nothing(tmp_path: Path) -> None:
    """The offending line may hold a secret."""
    error = mistake(tmp_path, f"server:\n  port: 1\noperator: {{token: !{SECRET}")
    assert "line 3" in str(error) and SECRET not in str(error)


@pytest.mark.parametrize("text", ["- a", "text", "3"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    """YAML, but no settings."""
    assert "keys and values" in str(mistake(tmp_path, text))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """Latin-1 is not guessed at."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"wechat: {site_name: caf\xe9}")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings(path, {})


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML would silently take the second."""
    error = mistake(tmp_path, "server:\n  port: 1\n  port: 2\n")
    assert error.key == "server.port" and "line 3" in error.problem


@pytest.mark.parametrize(
    ("values", "key", "words"),
    [
        ({"sever": {}}, "sever", "did you mean server"),
        ({"server": {"prot": 1}}, "server.prot", "did you mean port"),
        (account(app_secrt="x"), "wechat.accounts.default.app_secrt", "did you mean app_secret"),
        ({"server": {"zzzzzz": 1}}, "server.zzzzzz", "unknown setting"),
        ({"server": {"port": "many"}}, "server.port", "integer"),
        ({"server": {"port": True}}, "server.port", "number"),
        ({"server": {"port": 65536}}, "server.port", "65535"),
        ({"server": {"host": ""}}, "server.host", "is empty"),
        ({"server": {"processes": 0}}, "server.processes", "1"),
        ({"server": []}, "server", "keys and values"),
        ({"server": {"allowed_origins": "x"}}, "server.allowed_origins", "list"),
        ({"server": {"allowed_origins": ["x"]}}, "server.allowed_origins.0", "http"),
        ({"server": {"trusted_proxies": ["10.0.0.1/8"]}}, "server.trusted_proxies.0", "network"),
        ({"server": {"trusted_proxies": [10]}}, "server.trusted_proxies.0", "network"),
        ({"backend": "oracle"}, "backend", "embedded"),
        ({"redis": {"url": "http://x"}}, "redis.url", "redis://"),
        ({"redis": {"url": "redis://h/x"}}, "redis.url", "number"),
        ({"redis": {"url": "redis://h?ssl_cert_reqs=none"}}, "redis.url", "rediss://"),
        ({"redis": {"url": "redis://:a#b@h/0"}}, "redis.url", "percent-encode"),
        ({"mongodb": {"url": "http://x"}}, "mongodb.url", "mongodb://"),
        ({"mongodb": {"url": "mongodb://x/?retryWrite=1"}}, "mongodb.url", "retryWrites"),
        (distributed("mongodb://x/other"), "mongodb.url", "mongodb.database"),
        (distributed("mongodb://x/?tlsCAFile=/none.pem"), "mongodb.url", "tlsCAFile"),
        ({"wechat": {"simulator": "maybe"}}, "wechat.simulator", "auto"),
        ({"wechat": {"codes_ahead": "many"}}, "wechat.codes_ahead", "auto or a whole number"),
        ({"wechat": {"codes_ahead": True}}, "wechat.codes_ahead", "auto or a whole number"),
        ({"wechat": {"codes_ahead": -1}}, "wechat.codes_ahead", "auto or a whole number"),
        ({"wechat": {"codes_ahead": 501}}, "wechat.codes_ahead", "at most 500"),
        ({"wechat": {"timeout_seconds": 0}}, "wechat.timeout_seconds", "greater than 0"),
        ({"kiosks": {"k": {"secret": "100%-of-the-lobby"}}}, "kiosks.k.secret", "%"),
        ({"wechat": {"timeout_seconds": 6}}, "wechat.timeout_seconds", "equal to 5"),
        ({"wechat": {"mini_program": {"page": "/x"}}}, "wechat.mini_program.page", "slash"),
        ({"wechat": {"callback_deadline_seconds": 5}}, "wechat.callback_deadline_seconds", "5"),
        ({"wechat": {"accounts": {}}}, "wechat.accounts", "one entry"),
        ({"wechat": {"verify_files": {"../x.txt": "y"}}}, "wechat.verify_files", "MP_verify"),
        ({"wechat": {"site_name": 2024}}, "wechat.site_name", "quotes"),
        (account(app_id="gh_123"), "wechat.accounts.default.app_id", "original id"),
        (account(mode="safest"), "wechat.accounts.default.mode", "safe"),
        (account(forward_url="ftp://x"), "wechat.accounts.default.forward_url", "http"),
        (account(notice_fields={"a": "{when}"}), "wechat.accounts.default.notice_fields", "{time}"),
        (account(notice_fields={"a": "{{site}}"}), "wechat.accounts.default.notice_fields", "only"),
        (account(notice_fields={"a": "{time"}), "wechat.accounts.default.notice_fields", "closed"),
        (
            account(notice_fields={"a": "{time!r}"}),
            "wechat.accounts.default.notice_fields",
            "{time}",
        ),
        ({"login": {"scene_ttl_seconds": 0}}, "login.scene_ttl_seconds", "1"),
        ({"login": {"collect_ttl_seconds": 1801}}, "login.collect_ttl_seconds", "1800"),
        ({"login": {"confirm_ttl_seconds": 0}}, "login.confirm_ttl_seconds", "1"),
        ({"login": {"register_ttl_seconds": 1801}}, "login.register_ttl_seconds", "1800"),
        ({"login": {"register_fields": ["age"]}}, "login.register_fields.0", "phone"),
        ({"login": {"register_fields": ["name", "name"]}}, "login.register_fields", "twice"),
        ({"kiosk_ttl_seconds": 1801}, "kiosk_ttl_seconds", "1800"),
        ({"kiosks": {"Lobby 3": {}}}, "kiosks.Lobby 3", "characters"),
        ({"jwt": {"ttl_seconds": 59}}, "jwt.ttl_seconds", "60"),
        ({"jwt": {"ttl_seconds": 86401}}, "jwt.ttl_seconds", "86400"),
        ({"jwt": {"algorithm": "none"}}, "jwt.algorithm", "ES256"),
        ({"jwt": {"audience": ""}}, "jwt.audience", "is empty"),
        ({"jwt": {"key_file": 5}}, "jwt.key_file", "a path"),
        ({1: 2}, "1", "quotes"),
        ({"limits": {"exempt": ["office"]}}, "limits.exempt.0", "network"),
        ({"limits": {"sockets_per_address": -1}}, "limits.sockets_per_address", "0"),
        ({"logging": {"level": "LOUD"}}, "logging.level", "DEBUG"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_field_that_cannot_be_stops_the_start(
    tmp_path: Path, values: Mapping[str, Any], key: str, words: str
) -> None:
    """The dotted key is named and what is expected is said."""
    error = mistake(tmp_path, values)
    assert error.key == key
    assert words in error.problem


# Secrets


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("app_secret", "0123456789abcdef0123456789abcde"),
        ("app_secret", "g123456789abcdef0123456789abcdef"),
        ("callback_token", "ab"),
        ("callback_token", "a" * 33),
        ("callback_token", "pass-word"),
        ("encoding_aes_key", AES_KEY[:-1]),
        ("encoding_aes_key", AES_KEY[:-1] + "="),
        ("encoding_aes_key", "A" * 43),
        ("previous_encoding_aes_key", "A" * 43),
    ],
)
def test_a_malformed_secret_is_refused_and_not_shown(tmp_path: Path, key: str, bad: str) -> None:
    """Even a wrong secret may be a real one elsewhere."""
    error = mistake(tmp_path, account(**{key: bad}))
    assert error.key == f"wechat.accounts.default.{key}"
    assert bad not in str(error)


@pytest.mark.parametrize("key", ["app_secret", "callback_token", "encoding_aes_key"])
def test_an_account_needs_its_secrets(tmp_path: Path, key: str) -> None:
    """An app_id alone cannot talk to WeChat."""
    assert mistake(tmp_path, account(**{key: ""})).key == f"wechat.accounts.default.{key}"


def test_a_plaintext_account_needs_no_aes_key(tmp_path: Path) -> None:
    """WeChat's test accounts have none; it is warned about."""
    settings = loaded(tmp_path, account(mode="plaintext", encoding_aes_key=""))
    assert any("plaintext" in line for line in models.warnings(settings))


def test_kiosks_without_an_operators_token_are_warned_about(tmp_path: Path) -> None:
    """Their logins go through the operator's token."""
    kiosks: dict[str, object] = {"kiosks": {"lobby": {"secret": "a-secret-for-the-lobby"}}}
    assert list(models.warnings(loaded(tmp_path, kiosks)))
    operator = {"operator": {"token": "a-token-for-the-operator"}}
    assert not list(models.warnings(loaded(tmp_path, {**kiosks, **operator})))


def test_kiosks_that_would_have_to_ask_are_warned_about(tmp_path: Path) -> None:
    """A form cannot be filled in on a wall."""
    values: dict[str, object] = {
        "kiosks": {"lobby": {"secret": "a-secret-for-the-lobby"}},
        "operator": {"token": "a-token-for-the-operator"},
        "login": {"registration": "ask"},
    }
    (line,) = models.warnings(loaded(tmp_path, values))
    assert line.startswith("login.registration")


@pytest.mark.parametrize(
    ("sessions", "warned"),
    [
        ({"refresh_ttl_seconds": 300}, "sessions.refresh_ttl_seconds"),
        ({"refresh_ttl_seconds": 9000, "idle_seconds": 200}, "sessions.idle_seconds"),
        ({"idle_seconds": 9000}, "sessions.idle_seconds"),
        ({"refresh_ttl_seconds": 9000, "idle_seconds": 8000}, ""),
    ],
)
def test_sessions_that_end_before_their_tokens_are_warned_about(
    tmp_path: Path, sessions: dict[str, int], warned: str
) -> None:
    """Nothing could ever be renewed; nor does an idle time without sessions mean anything."""
    lines = list(models.warnings(loaded(tmp_path, {"sessions": sessions})))
    assert [line.split(":")[0] for line in lines] == ([warned] if warned else [])


@pytest.mark.parametrize("registration", ["auto", "deny"])
def test_a_hook_that_is_never_called_is_warned_about(tmp_path: Path, registration: str) -> None:
    """Who configures it may rely on it to keep strangers out."""
    login = {"hook_url": "https://hook.example.com", "hook_secret": SECRET}
    values: dict[str, object] = {"login": {**login, "registration": registration}}
    (line,) = models.warnings(loaded(tmp_path, values))
    assert line.startswith("login.hook_url")
    asked: dict[str, object] = {"login": {**login, "registration": "ask"}}
    assert not list(models.warnings(loaded(tmp_path, asked)))


def test_events_in_the_clear_are_warned_about(tmp_path: Path) -> None:
    """But for a receiver on this machine or network."""
    secret = f"{EVENTS_SECRET} {EVENTS_SECRET}"
    for url, warned in (("http://events.example.com/", 1), ("http://10.0.0.9/e", 0)):
        lines = list(models.warnings(loaded(tmp_path, {"events": {"url": url, "secret": secret}})))
        assert len(lines) == warned and all(line.startswith("events.url") for line in lines)


def test_secrets_without_an_app_id_are_a_mistake(tmp_path: Path) -> None:
    """Otherwise the simulator would start where the real thing was meant."""
    assert mistake(tmp_path, account(app_id="")).key == "wechat.accounts.default.app_id"


@pytest.mark.parametrize("app", ["mini_program", "website"])
def test_an_app_needs_its_secret(tmp_path: Path, app: str) -> None:
    """The same for mini program and website."""
    error = mistake(tmp_path, {"wechat": {app: {"app_id": "wxapp"}}})
    assert error.key == f"wechat.{app}.app_secret"


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"jwt": {"algorithm": "HS256"}}, "jwt.secret"),
        ({"jwt": {"algorithm": "HS256", "secret": "s" * 31}}, "jwt.secret"),
        ({"operator": {"token": "short"}}, "operator.token"),
        ({"operator": {"token": "with a blank in it"}}, "operator.token"),
        ({"kiosks": {"lobby": {"label": "L"}}}, "kiosks.lobby.secret"),
        ({"kiosks": {"lobby": {"secret": "short"}}}, "kiosks.lobby.secret"),
        ({"login": {"hook_url": "http://hook.test/"}}, "login.hook_secret"),
        ({"events": {"url": "http://events.test/"}}, "events.secret"),
        ({"events": {"secret": "c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5z"}}, "events.secret"),
        ({"events": {"secret": "whsec_c2hvcnQ="}}, "events.secret"),
        ({"events": {"secret": "whsec_no base64"}}, "events.secret"),
        ({"events": {"secret": f"{EVENTS_SECRET} whsec_c2hvcnQ="}}, "events.secret"),
        (
            {"events": {"secret": f"{EVENTS_SECRET} {EVENTS_SECRET} {EVENTS_SECRET}"}},
            "events.secret",
        ),
        ({"audit": {"days": -1}}, "audit.days"),
        (account(forward_logins=True), "wechat.accounts.default.forward_url"),
        ({"server": {"processes": 2}}, "server.processes"),
    ],
)
def test_weak_or_missing_secrets_and_broken_pairs_stop_the_start(
    tmp_path: Path, values: Mapping[str, Any], key: str
) -> None:
    """Settings that only together make sense are refused with the one to change."""
    assert mistake(tmp_path, values).key == key


def test_a_short_jwt_secret_matters_only_to_hs256(tmp_path: Path) -> None:
    """With a key pair it is not used."""
    assert loaded(tmp_path, {"jwt": {"secret": "x"}}).jwt.algorithm == "ES256"


@given(st.text(alphabet="0123456789abcdefXYZ!{}:'\"[]&*,", min_size=6, max_size=60))
def test_no_secret_is_ever_quoted(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is wrong with it, and wherever it comes from."""
    empty = tmp_path_factory.getbasetemp() / "empty.yaml"
    empty.touch()
    places = {
        "SCANPUSH_WECHAT__ACCOUNTS__DEFAULT__APP_SECRET": text,
        "SCANPUSH_WECHAT__ACCOUNTS__DEFAULT__ENCODING_AES_KEY": text,
        "SCANPUSH_KIOSKS": "{a: {secret: " + text,
        "SCANPUSH_REDIS__URL": text,
    }
    for name in places:
        try:
            load_settings(empty, {name: places[name]})
        except SettingsError as error:
            assert text not in str(error) and "\n" not in str(error)


def test_printing_settings_shows_no_secret(tmp_path: Path) -> None:
    """Not even by accident in a log line."""
    settings = loaded(tmp_path, account(), REDIS__URL="redis://:hunter2@h/0")
    shown = repr(settings) + str(settings.model_dump())
    assert not [word for word in (SECRET, AES_KEY, "hunter2") if word in shown]


# Origins


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://Login.Example.test/", "https://login.example.test"),
        ("https://a.test:443", "https://a.test"),
        ("http://a.test:8080", "http://a.test:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_kept_as_browsers_spell_it(tmp_path: Path, given_url: str, kept: str) -> None:
    """It is compared exactly, so it must be spelt exactly."""
    assert loaded(tmp_path, SERVER__PUBLIC_URL=given_url).server.public_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "login.example.com",
        "https://",
        "https://a.test/path",
        "https://a.test?x",
        "https://u:p@a.test",
        "https://a.test#f",
        "https://a test",
        "https://\u4f8b.test",
        "https://a.test:99999",
        "javascript:1",
    ],
)
def test_what_is_no_origin_is_refused(tmp_path: Path, url: str) -> None:
    """A path, a user or another scheme cannot be an origin."""
    assert mistake(tmp_path, {"server": {"public_url": url}}).key == "server.public_url"


# The simulator


@pytest.mark.parametrize(
    ("host", "public_url", "answer"),
    [
        ("127.0.0.1", "", True),
        ("localhost", "http://localhost:8888", True),
        ("192.168.1.4", "", True),
        ("0.0.0.0", "http://192.168.1.4:8888", True),
        ("::1", "", True),
        ("127.1", "", True),
        ("[::1]", "", True),
        ("0x7f000001", "", True),
        ("::ffff:127.0.0.1", "", True),
        ("::", "http://localhost:8888", True),
        ("*", "http://kiosk.local", True),
        ("0", "http://127.0.0.1:8888", True),
    ],
)
def test_auto_simulates_on_local_addresses(
    tmp_path: Path, host: str, public_url: str, answer: bool
) -> None:
    """While no account is configured and no client from outside can connect."""
    settings = loaded(tmp_path, SERVER__HOST=host, SERVER__PUBLIC_URL=public_url)
    assert simulated(settings) is answer


@pytest.mark.parametrize(
    ("host", "public_url"),
    [
        ("0.0.0.0", ""),
        ("::", ""),
        ("8.8.8.8", ""),
        ("*", ""),
        ("0", ""),
        ("0x0", ""),
        ("0.0", ""),
        ("[::]", ""),
        ("0::0", ""),
        ("::ffff:0.0.0.0", ""),
        ("::ffff:8.8.8.8", ""),
        ("134744072", ""),
        ("010.8.8.8", ""),
        ("2001:4860:4860::8888", ""),
        ("*", "http://134744072"),
        ("127.0.0.1", "http://0x08080808"),
        ("127.0.0.1", "http://[::ffff:8.8.8.8]"),
        ("127.0.0.1", "http://0"),
        ("127.0.0.1", "https://login.example.com"),
        ("0.0.0.0", "http://8.8.8.8"),
        ("login.example.com", ""),
    ],
)
@pytest.mark.parametrize("simulator", ["auto", "true"])
def test_a_public_server_never_simulates(
    tmp_path: Path, host: str, public_url: str, simulator: str
) -> None:
    """Under the simulator any client can be any person: with a public address the start stops."""
    error = mistake(
        tmp_path, SERVER__HOST=host, SERVER__PUBLIC_URL=public_url, WECHAT__SIMULATOR=simulator
    )
    # A name that has no address cannot be listened at in any case.
    keys = ("wechat.simulator", "wechat.accounts.default.app_id", "server.host")
    assert error.key in keys[2:] if host == "login.example.com" else keys[:2]


def test_a_configured_account_is_not_simulated(tmp_path: Path) -> None:
    """auto ends with the first app_id."""
    assert not simulated(loaded(tmp_path, account()))


def test_without_simulator_and_account_nothing_could_log_in(tmp_path: Path) -> None:
    """So it does not start."""
    error = mistake(tmp_path, WECHAT__SIMULATOR="false")
    assert error.key == "wechat.accounts.default.app_id"


def test_the_issuer_is_a_setting_and_never_a_header(tmp_path: Path) -> None:
    """jwt.issuer, else public_url, else a name that all nodes share."""
    assert loaded(tmp_path).token_issuer == "scanpush"
    assert loaded(tmp_path, SERVER__PUBLIC_URL="http://a.test").token_issuer == "http://a.test"
    assert (
        loaded(tmp_path, JWT__ISSUER="me", SERVER__PUBLIC_URL="http://a.test").token_issuer == "me"
    )


# What Kubernetes and Docker put beside the settings

MADE = {
    "SCANPUSH_SERVICE_HOST": "10.96.0.12",
    "SCANPUSH_SERVICE_PORT": "8888",
    "SCANPUSH_SERVICE_PORT_HTTP": "8888",
    "SCANPUSH_PORT": "tcp://10.96.0.12:8888",
    "SCANPUSH_PORT_8888_TCP": "tcp://10.96.0.12:8888",
    "SCANPUSH_PORT_8888_TCP_PROTO": "tcp",
    "SCANPUSH_PORT_8888_TCP_PORT": "8888",
    "SCANPUSH_PORT_8888_TCP_ADDR": "10.96.0.12",
    "SCANPUSH_PORT_53_UDP": "udp://10.96.0.12:53",
    "SCANPUSH_PORT_9_SCTP_PROTO": "sctp",
    "SCANPUSH_REDIS_SERVICE_HOST": "fd00:10:96::c",
    "SCANPUSH_REDIS_PORT": "tcp://[fd00:10:96::c]:6379",
    "SCANPUSH_REDIS_PORT_6379_TCP_ADDR": "fd00:10:96::c",
    "SCANPUSH_SERVER_SERVICE_PORT": "80",
    "SCANPUSH_SERVER_PORT": "tcp://10.96.0.13:80",
    "SCANPUSH_WECHAT_PORT": "tcp://10.96.0.14:80",
    "SCANPUSH_BLUE_GREEN_2_SERVICE_PORT_WEB_TLS": "443",
    "SCANPUSH_NAME": "/web/scanpush",
    "SCANPUSH_ENV_PATH": "/usr/bin",
    "SCANPUSH_ENV_npm_config": "",
    "SCANPUSH_DB_1_NAME": "/web_1/db_1",
    "SCANPUSH_DB_1_ENV_ENV_VERSION": "7",
    "SCANPUSH_PORT_8000_TCP_START": "tcp://172.17.0.2:8000",
}


@pytest.mark.parametrize("variable", [name for name in MADE if "ENV_VERSION" not in name])
def test_the_variable_of_a_service_is_no_setting(tmp_path: Path, variable: str) -> None:
    """Of Kubernetes, or of a legacy link, for any name that begins with scanpush."""
    path = written(tmp_path, "")
    assert load_settings(path, {variable: MADE[variable]}) == load_settings(path, {})
    assert service_variables(Settings, {variable: MADE[variable]}) == [variable]


def test_all_variables_of_services_are_told_of_together(tmp_path: Path) -> None:
    """A setting among them counts, whatever its name resembles."""
    settings = {
        "SCANPUSH_WECHAT__SITE_NAME": "/web/scanpush",
        "SCANPUSH_SERVER__PORT": "80",
        "SCANPUSH_WECHAT__ACCOUNTS__A_ENV_B__LANGUAGE": "en",
        "SCANPUSH_WECHAT__MINI_PROGRAM__ENV_VERSION": "trial",
    }
    assert service_variables(Settings, MADE | settings) == sorted(MADE)
    loaded_settings = load_settings(written(tmp_path, ""), MADE | settings)
    assert loaded_settings.wechat.site_name == "/web/scanpush"
    assert loaded_settings.wechat.accounts["a_env_b"].language == "en"


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("PORT", "8889", "SCANPUSH_SERVER__PORT"),
        ("SERVER_PORT", "8889", "SCANPUSH_SERVER__PORT"),
        ("HOST", "0.0.0.0", "SCANPUSH_SERVER__HOST"),
        ("SERVER_HOST", "10.96.0.12", "SCANPUSH_SERVER__HOST"),
        ("SERVICE_HOST", "localhost", ""),
        ("SERVICE_PORT", "http", ""),
        ("PORT", "http://10.96.0.12:8888", ""),
        ("PORT_8888_TCP_PROTO", "http", ""),
        ("PORT_8888_TCP_ADDR", "redis", ""),
        ("PORT_8888_HTTP", "tcp://10.96.0.12:8888", ""),
        ("NAME", "scanpush", ""),
        ("WECHAT_SITE_NAME", "Site", "SCANPUSH_WECHAT__SITE_NAME"),
        ("WECHAT_ENV_VERSION", "trial", ""),
        ("WECHAT__MINI_PROGRAM__ENV_VERSIONS", "trial", "ENV_VERSION"),
        ("REDIS_URL", "redis://127.0.0.1", "SCANPUSH_REDIS__URL"),
    ],
)
def test_a_mistyped_setting_still_stops_the_start(
    tmp_path: Path, variable: str, value: str, hint: str
) -> None:
    """Though its name is that of a Service's variable: the value is not of that form."""
    error = mistake(tmp_path, **{variable: value})
    assert error.key == f"SCANPUSH_{variable}" and "sets nothing known" in error.problem
    assert hint in error.problem


@given(st.from_regex(r"SCANPUSH(_[A-Z0-9]{1,8}){0,3}", fullmatch=True), st.text(max_size=20))
def test_no_setting_is_ever_skipped(variable: str, value: str) -> None:
    """Whatever its value: every variable that sets something is left to its setting."""
    settings = dict.fromkeys(sources._variables(Settings), value)
    made = service_variables(Settings, settings | {variable: value, f"{variable}_NAME": "/a/b"})
    assert not settings.keys() & set(made)


# Files as other people's editors save them


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftoken123",
        b"\xef\xbb\xbftoken123\r\n",
        b"\xef\xbb\xbf\xef\xbb\xbftoken123\n\n",
        b"token123\r",
        b"token123\n\r\n",
    ],
)
def test_a_secret_file_may_have_a_mark_and_line_feeds(tmp_path: Path, content: bytes) -> None:
    """They belong to the file, not to the secret."""
    (tmp_path / "f").write_bytes(content)
    values = account()
    del values["wechat"]["accounts"]["default"]["callback_token"]
    variable = "WECHAT__ACCOUNTS__DEFAULT__CALLBACK_TOKEN_FILE"
    settings = loaded(tmp_path, values, **{variable: tmp_path / "f"})
    token = settings.wechat.accounts["default"].callback_token
    assert token.get_secret_value() == "token123"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("token123".encode("utf-16"), "not UTF-8"),
        ("token123".encode("utf-16-le"), "not UTF-8"),
        ("token123".encode("utf-16-be"), "not UTF-8"),
        ("token123".encode("utf-32"), "not UTF-8"),
        (b"token\xff123", "not UTF-8"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
    ],
)
def test_a_secret_file_of_another_encoding_is_told(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """With the variable that names it, and nothing of what it holds."""
    (tmp_path / "f").write_bytes(content)
    variable = "WECHAT__ACCOUNTS__DEFAULT__CALLBACK_TOKEN_FILE"
    error = mistake(tmp_path, account(), **{variable: tmp_path / "f"})
    assert problem in error.problem and f"SCANPUSH_{variable}" in error.problem
    assert "token" not in error.problem.replace(str(tmp_path), "").replace(variable, "")


@pytest.mark.parametrize(
    ("content", "fine"),
    [
        (b"\xef\xbb\xbfserver: {port: 1}", True),
        (b"server:\r\n  port: 1\r\n", True),
        ("server: {port: 1}".encode("utf-16"), False),
        ("server: {port: 1}".encode("utf-16-le"), False),
        ("server: {port: 1}  # \u00fc".encode("latin-1"), False),
        (b"server: {port: 1}\0", False),
        (b"\x1a", False),
    ],
)
def test_a_settings_file_of_another_encoding(tmp_path: Path, content: bytes, fine: bool) -> None:
    """UTF-8 with or without a mark; anything else is told in one line."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    if fine:
        assert load_settings(path, {}).server.port == 1
    else:
        with pytest.raises(SettingsError, match="^the settings file [^\n]*$"):
            load_settings(path, {})


# The OpenID Provider


GRAFANA = {"secret": SECRET, "redirect_uris": ["https://grafana.test/login/generic_oauth"]}


def provider(**sections: Any) -> dict[str, Any]:
    """Settings with one client, or others."""
    return {
        "server": {"public_url": "https://login.test"},
        "oidc": {"clients": {"grafana": GRAFANA}},
    } | {
        **account(),
        **sections,
    }


def client(**changes: Any) -> dict[str, Any]:
    return provider(oidc={"clients": {"grafana": GRAFANA | changes}})


def test_a_client_loads(tmp_path: Path) -> None:
    """With RS256, for official accounts; without a redirect URI it is one of the device flow."""
    settings = loaded(tmp_path, client(redirect_uris=[]))
    grafana = settings.oidc.clients["grafana"]
    assert (grafana.id_token_alg, grafana.kinds) == ("RS256", ("official_account",))
    assert settings.oidc.id_token_algs == ("RS256",)
    assert loaded(tmp_path, account()).oidc.id_token_algs == ()
    other = loaded(tmp_path, client(id_token_alg="EdDSA"))
    assert other.oidc.id_token_algs == ("EdDSA", "RS256")
    assert not list(models.warnings(other))


@pytest.mark.parametrize(("kinds", "lines"), [(["code"], 1), (["code", "web"], 0)])
def test_devices_without_a_login_inside_wechat_are_warned_about(
    tmp_path: Path, kinds: list[str], lines: int
) -> None:
    """Their codes are scanned with WeChat, whose browser can log in by kind `web` only."""
    found = list(models.warnings(loaded(tmp_path, client(redirect_uris=[], kinds=kinds))))
    assert len(found) == lines and all("oidc.clients.grafana.kinds" in line for line in found)


def test_a_pattern_of_redirect_uris_is_warned_about(tmp_path: Path) -> None:
    """It matches nothing but itself."""
    settings = loaded(tmp_path, client(redirect_uris=["https://grafana.test/*"]))
    (line,) = models.warnings(settings)
    assert line.startswith("oidc.clients.grafana.redirect_uris: * is taken literally")


def test_a_clients_secret_may_come_from_the_environment(tmp_path: Path) -> None:
    """Beside the rest of the client in the file, and from a file of its own."""
    values = provider(oidc={"clients": {"grafana": {"redirect_uris": GRAFANA["redirect_uris"]}}})
    given = loaded(tmp_path, values, OIDC__CLIENTS__GRAFANA__SECRET=SECRET)
    (tmp_path / "secret").write_text(SECRET)
    read = loaded(tmp_path, values, OIDC__CLIENTS__GRAFANA__SECRET_FILE=tmp_path / "secret")
    for settings in (given, read):
        assert settings.oidc.clients["grafana"].secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (provider(server={}), "server.public_url"),
        (provider(jwt={"algorithm": "HS256", "secret": "s" * 32}), "jwt.algorithm"),
        (provider(jwt={"algorithm": "HS256"}), "jwt.algorithm"),
        (client(secret=""), "oidc.clients.grafana.secret"),
        (client(public=True), "oidc.clients.grafana.secret"),
        (client(public=True, secret="", introspect=True), "oidc.clients.grafana.introspect"),
        (client(scopes=["profile"]), "oidc.clients.grafana.scopes"),
        (client(audience="scanpush"), "oidc.clients.grafana.audience"),
        (provider(oidc={"clients": {"scanpush": GRAFANA}}), "oidc.clients.scanpush"),
        (client(kinds=["website"]), "oidc.clients.grafana.kinds"),
        (client(kinds=["official_account", "mini_program"]), "oidc.clients.grafana.kinds"),
        (client(redirect_uris=["https://a.test/#x"]), "oidc.clients.grafana.redirect_uris.0"),
        (client(redirect_uris=["javascript:alert(1)"]), "oidc.clients.grafana.redirect_uris.0"),
        (client(id_token_alg="none"), "oidc.clients.grafana.id_token_alg"),
        (client(id_token_alg="HS256"), "oidc.clients.grafana.id_token_alg"),
    ],
)
def test_what_would_not_work_for_a_client_stops_the_start(
    tmp_path: Path, values: dict[str, Any], key: str
) -> None:
    """One line that names the setting, and never the secret."""
    error = mistake(tmp_path, values)
    assert error.key == key, error
    assert SECRET not in str(error)


def test_two_clients_of_one_id_are_a_mistake(tmp_path: Path) -> None:
    """YAML itself would take the last one."""
    text = "oidc:\n  clients:\n    a: {public: true}\n    a: {public: true}\n"
    assert "twice" in str(mistake(tmp_path, text))


@pytest.mark.parametrize(
    ("uri", "warned"),
    [
        ("https://grafana.test/cb", False),
        ("http://grafana.test/cb", True),
        ("http://10.0.0.5/cb", True),
        ("http://127.0.0.1:3000/cb", False),
        ("http://[::1]:3000/cb", False),
        ("http://localhost/cb", False),
        ("com.example.app:/cb", False),
    ],
)
def test_a_redirect_uri_in_the_clear_is_warned_about(
    tmp_path: Path, uri: str, warned: bool
) -> None:
    """Unless the way leads to the same machine."""
    lines = list(models.warnings(loaded(tmp_path, client(redirect_uris=[uri]))))
    assert bool(lines) is warned
