"""The sites of examples/ as processes of their own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from tests.packages.test_python_frameworks import needs
from tests.processes import ROOT, environment

EXAMPLES = ROOT / "examples"
STARTS_WITHIN_SECONDS = 60


class Site:
    """One of them, at that port, trusting the scanpush at `scanpush_url`. Use it in ``with``.

    It is built and run in a copy, in `folder`.
    """

    def __init__(self, name: str, folder: Path, scanpush_url: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"{name}.log"
        self._folder = folder / name
        shutil.copytree(EXAMPLES / name, self._folder)
        self._command = COMMANDS[name](self._folder, port)
        self._environment = {
            **environment(),
            "SCANPUSH_URL": scanpush_url,
            "PORT": str(port),
            "PYTHONPATH": str(ROOT / "packages" / "python" / "src"),
            "PYTHONWARNINGS": "error",
        }

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while True:
            try:
                httpx.get(self.url, trust_env=False)
                return self
            except httpx.ConnectError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self._stop()
                    raise AssertionError(f"no start: {self._log.read_text()}") from None
                time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(30)


def built(*command: str, folder: Path) -> None:
    """A build has to succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr


def fastapi(folder: Path, port: int) -> list[str]:
    needs("fastapi")
    needs("uvicorn")
    return [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]


def django(folder: Path, port: int) -> list[str]:
    needs("django")
    return [sys.executable, "app.py", "runserver", "--noreload", str(port)]


def go(folder: Path, port: int) -> list[str]:
    tool = shutil.which("go")
    if tool is None:
        pytest.skip("GO IS NOT INSTALLED: examples/go IS NOT TESTED")
    built(tool, "vet", ".", folder=folder)
    built(tool, "build", "-o", "site", ".", folder=folder)
    return [str(folder / "site")]


def spring_boot(folder: Path, port: int) -> list[str]:
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None or shutil.which("javac") is None:
        pytest.skip("JAVA 17 OR MAVEN IS NOT INSTALLED: examples/spring-boot IS NOT TESTED")
    built(maven, "-q", "-B", "package", folder=folder)
    return [java, "-jar", str(folder / "target" / "site-1.jar")]


COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {
    "fastapi": fastapi,
    "django": django,
    "go": go,
    "spring-boot": spring_boot,
}
COMPILED = ("go", "spring-boot")
"""Those that only ``scripts/test --all`` builds."""

each_site = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.slow, pytest.mark.timeout(900)] if name in COMPILED else []
        )
        for name in COMMANDS
    ],
)
