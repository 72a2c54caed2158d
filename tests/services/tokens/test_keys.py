"""services.tokens.keys: the key file is made once, kept to its owner, and rotated by adding."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.errors import SettingsError
from services.settings.models import JwtSettings
from services.tokens import keys
from tests.conftest import UnexpectedLogs


def settings(path: Path, algorithm: str = "ES256") -> JwtSettings:
    return JwtSettings.model_validate({"key_file": path, "algorithm": algorithm})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "jwt-keys.json"


def test_the_first_start_makes_a_key(path: Path) -> None:
    """File and folder are the owner's alone."""
    made = keys.open_keys(settings(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert made.signing.algorithm == "ES256"


def test_the_next_start_has_the_same_key(path: Path) -> None:
    """Tokens outlive a restart."""
    assert keys.open_keys(settings(path)).signing.kid == keys.open_keys(settings(path)).signing.kid


def test_nothing_is_left_beside_the_file(path: Path) -> None:
    """No temporary file, no lock file."""
    keys.open_keys(settings(path))
    assert list(path.parent.iterdir()) == [path]


def test_many_first_starts_at_once_make_one_key(path: Path) -> None:
    """Several processes of one node start together."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: keys.open_keys(settings(path)), range(8)))
    assert len({made.signing.kid for made in opened}) == 1


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_each_algorithm_gets_its_key(path: Path, algorithm: str) -> None:
    """And publishes it under that name."""
    made = keys.open_keys(settings(path, algorithm))
    (jwk,) = made.public_jwks()
    assert jwk["alg"] == algorithm and jwk["kid"] == made.signing.kid


def test_further_algorithms_get_keys_beside_it(path: Path) -> None:
    """The key of ID tokens lies in the same file, is made once, and the first key still signs."""
    alone = keys.open_keys(settings(path))
    made = keys.open_keys(settings(path), ["RS256", "ES256"])
    again = keys.open_keys(settings(path), ["RS256", "ES256"])
    assert made.signing.kid == alone.signing.kid and made.algorithms == ("ES256", "RS256")
    assert [key.kid for key in made.keys] == [key.kid for key in again.keys]
    assert sorted(jwk["alg"] for jwk in made.public_jwks()) == ["ES256", "RS256"]


def test_changing_the_algorithm_keeps_the_old_key(path: Path) -> None:
    """Tokens signed before the change stay valid."""
    old = keys.open_keys(settings(path)).signing
    changed = keys.open_keys(settings(path, "EdDSA"))
    assert changed.signing.algorithm == "EdDSA"
    assert old.kid in {key.kid for key in changed.keys}


def test_hs256_uses_the_secret_and_publishes_nothing(path: Path) -> None:
    """No file is made either."""
    jwt = JwtSettings(algorithm="HS256", secret=SecretStr("s" * 32), key_file=path)
    made = keys.open_keys(jwt)
    assert made.public_jwks() == [] and made.signing.private == b"s" * 32
    assert not path.exists()


def test_an_added_key_comes_first_and_the_old_one_verifies(path: Path) -> None:
    """That is rotation; when the new one signs is told in test_verifier.py."""
    old = keys.open_keys(settings(path)).signing
    new = keys.add_key(path, "ES256")
    opened = keys.open_keys(settings(path))
    assert opened.signing.kid == new.kid
    assert [key.kid for key in opened.able_to_sign("ES256")] == [new.kid, old.kid]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_removed_key_is_gone(path: Path) -> None:
    """The end of a rotation."""
    old = keys.open_keys(settings(path)).signing
    keys.add_key(path, "ES256")
    keys.remove_key(path, old.kid)
    assert old.kid not in {key.kid for key in keys.open_keys(settings(path)).keys}


def test_a_file_open_to_others_is_warned_about(path: Path, logs: UnexpectedLogs) -> None:
    """It still starts: secrets mounted into containers often look so."""
    keys.open_keys(settings(path))
    path.chmod(0o644)
    logs.expect("open to others")
    keys.open_keys(settings(path))
    assert logs.lines


def test_a_read_only_folder_is_enough_once_the_file_is_there(path: Path) -> None:
    """Keys may be mounted read-only: an existing file is not touched."""
    keys.open_keys(settings(path))
    before = path.stat()
    keys.open_keys(settings(path))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"keys": {}}',
        '{"keys": [1]}',
        '{"keys": [{"kty": "EC"}]}',
        "[" * 100_000,
        json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}]}),
    ],
    ids=["empty", "half", "list", "no-keys", "dict", "number", "bare", "deep", "nonsense"],
)
def test_a_broken_file_stops_the_start(path: Path, text: str) -> None:
    """Never is a new key put in place of a broken file: that would log everybody out."""
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        keys.open_keys(settings(path))
    assert caught.value.key == "jwt.key_file" and "\n" not in str(caught.value)
    assert path.read_text() == text


def test_a_broken_file_is_not_quoted(path: Path) -> None:
    """The error names the number of the key, not the key."""
    keys.open_keys(settings(path))
    document = json.loads(path.read_text())
    secret = document["keys"][0]["d"]
    document["keys"][0]["x"] = "AA"
    path.write_text(json.dumps(document))
    with pytest.raises(SettingsError) as caught:
        keys.open_keys(settings(path))
    assert secret not in str(caught.value) and "key 1" in str(caught.value)


def test_a_folder_that_cannot_be_made_is_an_operators_mistake(tmp_path: Path) -> None:
    """One line, no traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="jwt.key_file"):
        keys.open_keys(settings(tmp_path / "file" / "keys.json"))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("data/jwt-keys.json", "elsewhere/jwt-keys.json"),
        ("data/jwt-keys.json", "missing.json"),
        ("data/jwt-keys.json", "jwt-keys.json"),
        ("data/jwt-keys.json", "../data/jwt-keys.json"),
        ("data/jwt-keys.json", "/nonexistent/keys.json"),
        ("data/jwt-keys.json", "../other"),
        ("data/jwt-keys.json", "other-link"),
        ("data", "elsewhere"),
        ("data", "/nonexistent"),
        ("data", "data"),
    ],
)
def test_a_link_to_nothing_stops_the_start(tmp_path: Path, link: str, target: str) -> None:
    """Keys that were moved, or are not mounted yet, are not replaced in silence: everybody would be
    logged out. Nothing is made; the error is one line."""
    path = tmp_path / "data" / "jwt-keys.json"
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(target)
    if target == "other-link":
        (tmp_path / "data" / target).symlink_to("nothing")
    before = sorted(tmp_path.rglob("*"))
    for attempt in (lambda: keys.open_keys(settings(path)), lambda: keys.add_key(path, "ES256")):
        with pytest.raises(SettingsError) as caught:
            attempt()
        assert caught.value.key == "jwt.key_file" and "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    """A key is added to the file that it names."""
    old = keys.open_keys(settings(tmp_path / "real.json")).signing
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real.json")
    new = keys.add_key(path, "ES256")
    assert path.is_symlink()
    opened = keys.open_keys(settings(tmp_path / "real.json"))
    assert [key.kid for key in opened.keys] == [new.kid, old.kid]


def test_the_command_adds_lists_and_removes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rotation without a script."""
    assert keys.main(["add", str(path)]) == 0
    assert keys.main(["add", str(path), "--algorithm", "EdDSA"]) == 0
    capsys.readouterr()
    assert keys.main(["list", str(path)]) == 0
    newest, oldest = capsys.readouterr().out.splitlines()
    assert newest.endswith("EdDSA") and oldest.endswith("ES256")
    assert keys.main(["remove", str(path), oldest.split()[0]]) == 0
    assert capsys.readouterr().out.splitlines() == [newest]


def test_the_command_never_prints_a_private_part(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What scrolls by on a terminal is no secret."""
    keys.main(["add", str(path)])
    keys.main(["list", str(path)])
    assert json.loads(path.read_text())["keys"][0]["d"] not in capsys.readouterr().out


@pytest.mark.parametrize("kid", ["nobody", "-nobody", "-hither", "--nobody"])
def test_removing_an_unknown_key_fails(
    path: Path, kid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code and one line, also where its name looks like an option."""
    keys.main(["add", str(path)])
    assert keys.main(["remove", str(path), kid]) == 1
    assert f"no key {kid}\n" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["list"], ["remove", "KID"]], ids=lambda action: action[0])
def test_a_missing_file_is_told(
    path: Path, action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped path is no empty key set, and neither file nor folder is made of it."""
    assert keys.main([action[0], str(path), *action[1:]]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err == f"jwt.key_file: there is no file {path}\n"
    assert not path.parent.exists()


@pytest.mark.parametrize("kids", [[], ["one", "two"]])
def test_remove_takes_one_key(
    path: Path, kids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is removed by half a command."""
    with pytest.raises(SystemExit):
        keys.main(["remove", str(path), *kids])
    assert "remove takes one KID" in capsys.readouterr().err
