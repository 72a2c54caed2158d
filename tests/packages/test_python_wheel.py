"""packages/python as its users get it: a wheel, in a virtual environment of its own."""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

PACKAGE = ROOT / "packages" / "python"
MODULES = sorted(path.name for path in (PACKAGE / "src" / "scanpush_client").glob("*.py"))
FRAMEWORKS = ("django", "fastapi", "flask", "tornado")
IMPORT = f"""
import sys, scanpush_client
assert not set({FRAMEWORKS!r}) & set(sys.modules), "a framework was imported"
print(scanpush_client.__file__)
scanpush_client.Scanpush("https://login.example.com").close()
"""


def run(*command: str | Path, **environment: str) -> str:
    """Standard output of a program that has to succeed."""
    environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves files in the tree that it builds from."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is too old to build it; scripts/test installs a newer one")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        PACKAGE, folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build")
    )
    built = ("wheel", "--no-build-isolation", "--no-deps", "--quiet", "-w", folder)
    run(sys.executable, "-m", "pip", *built, folder / "source")
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """With the mark that it is typed, its license and its page."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        described = email.message_from_bytes(archive.read(metadata))
    inside = sorted(name for name in names if ".dist-info/" not in name)
    assert inside == sorted(f"scanpush_client/{name}" for name in [*MODULES, "py.typed"])
    assert any(name.endswith("LICENSE") for name in names)
    required = [line for line in described.get_all("Requires-Dist", []) if "extra" not in line]
    assert sorted(re.split(r"[\[>]", line)[0] for line in required) == ["httpx", "pyjwt"]
    assert "pip install scanpush-client" in str(described.get_payload())


def test_the_license_is_the_repositorys() -> None:
    """A wheel takes files of its own folder only."""
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_imports_without_the_frameworks(wheel: Path, tmp_path: Path) -> None:
    """From a fresh virtual environment; only its two dependencies come from outside of it."""
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    install = ("install", "--quiet", "--no-index", "--no-deps", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install)
    seen = run(python, "-W", "error", "-c", IMPORT, PYTHONPATH=sysconfig.get_path("purelib"))
    assert seen.startswith(str(tmp_path / "venv"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_installs_with_its_extras_and_type_checks(wheel: Path, tmp_path: Path) -> None:
    """Everything from the index; `mypy --strict` reads the package and the page's programs."""
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    probe = subprocess.run(
        [python, "-m", "pip", "download", "--quiet", "--no-deps", "-d", tmp_path, "idna"],
        capture_output=True,
    )
    if probe.returncode != 0:
        pytest.skip("THE PACKAGE INDEX CANNOT BE REACHED: THE WHEEL'S EXTRAS ARE NOT TESTED")
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-W", "error", "-c", IMPORT)
    everything = f"scanpush-client[{','.join(FRAMEWORKS)}] @ {wheel.as_uri()}"
    run(python, "-m", "pip", "install", "--quiet", everything, "mypy", "django-stubs")
    for name in FRAMEWORKS:
        run(python, "-W", "error", "-c", f"import scanpush_client.{name}")
    programs = []
    for number, block in enumerate(blocks(PACKAGE / "README.md")):
        if block.startswith("```python"):
            program = tmp_path / f"program_{number}.py"
            program.write_text(block.removeprefix("```python\n").removesuffix("```"))
            programs.append(program)
    assert len(programs) == 5
    programs[0].write_text('token = ""\n' + programs[0].read_text())
    run(python, "-m", "mypy", "--strict", "-p", "scanpush_client")
    run(python, "-m", "mypy", "--strict", *programs)
    for program in programs:
        run(python, "-W", "error", program)
