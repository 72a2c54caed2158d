"""The real programs as processes of their own: started, asked to stop, or killed."""

import asyncio
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

ROOT = Path(__file__).resolve().parent.parent
WITHIN_SECONDS = 30


def environment() -> dict[str, str]:
    """This process's environment, without what would set the server's own settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SCANPUSH_") or name.startswith("SCANPUSH_TEST_")
    }


async def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run ``server.py`` until it ends by itself: exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "server.py"),
        *arguments,
        cwd=ROOT,
        env={**environment(), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def write_config(folder: Path, **sections: Mapping[str, Any]) -> Path:
    """A settings file in `folder`, with its data beside it."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"server": {"port": 0}, **sections}))
    return path


class Program:
    """One child process; `output` is all it has written so far, to both streams."""

    def __init__(self, *command: str, ready: str) -> None:
        self._command = command
        self._ready = re.compile(ready)
        self.output = ""
        self.exit_code: int | None = None

    async def start(self) -> re.Match[str]:
        """Start it and wait until it has written a line that matches `ready`."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read(len(self.output)))
        found: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
        self._found = found
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                return await found
        except BaseException:
            await self.kill()
            raise

    async def _read(self, start: int) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.output += line.decode()
            match = self._ready.search(self.output, start)
            if match and not self._found.done():
                self._found.set_result(match)
        if not self._found.done():
            self._found.set_exception(AssertionError(f"ended at its start: {self.output}"))

    async def end(self, how: signal.Signals) -> int:
        """Send that signal, wait until it has ended; its exit code (negative: the signal)."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                self.exit_code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            self.exit_code = await self._process.wait()
            raise
        await self._reader
        return self.exit_code

    def send(self, how: signal.Signals) -> None:
        """Send that signal and go on; nothing happens when it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(how)

    @property
    def resident_bytes(self) -> int:
        """How much memory it has."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    async def kill(self) -> None:
        """SIGKILL: it ends at once and cleans nothing up."""
        await self.end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self.end(signal.SIGTERM)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()


class ServerProcess(Program):
    """``python server.py --config FILE``; `port` and `url` are known once it runs."""

    def __init__(self, config: Path) -> None:
        super().__init__(
            sys.executable,
            str(ROOT / "server.py"),
            "--config",
            str(config),
            ready=r"scanpush \S+ at (http://127\.0\.0\.1:(\d+))[^\n]*\n",
        )

    async def start(self) -> re.Match[str]:
        match = await super().start()
        self.url, self.port = match[1], int(match[2])
        return match


class SimulatorProcess(Program):
    """``python -m simulator``; `settings` are the lines for config.yaml, `url` its address."""

    def __init__(self, callback_url: str) -> None:
        super().__init__(
            sys.executable,
            *("-m", "simulator", "--port", "0", "--callback-url", callback_url),
            ready=r"(?s)(wechat:.*)\nPhone page: (http://127\.0\.0\.1:\d+)/phone",
        )

    async def start(self) -> re.Match[str]:
        match = await super().start()
        self.settings, self.url = yaml.safe_load(match[1]), match[2]
        return match
