"""server.py as a process with its simulated WeChat, what people do there, and the network path."""

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.processes import ROOT, environment, write_config
from tests.wire_proxy import Fault, Proxy, one_read

from .aside import Aside

SOCKETS, LONG_POLLS, EVERYTHING = b"Upgrade: websocket", b"?wait=", b""
"""What a `Way` can block: requests that contain this."""

KIOSK_SECRET = "a-secret-for-the-third-lobby"
OPERATOR_TOKEN = "a-token-that-the-operator-made-up"


def tea_house(**login: Any) -> dict[str, Any]:
    """Settings under which names are known, and screens and the operator exist. No codes are made
    ahead: pages show at once what WeChat answers, and its calls can be counted."""
    return {
        "wechat": {
            "codes_ahead": 0,
            "site_name": "示例茶馆",
            "accounts": {"default": {"web_scope": "snsapi_userinfo"}},
        },
        "login": {"poll_interval_seconds": 0, **login},
        "limits": {"exempt": ["127.0.0.0/8"]},
        "operator": {"token": OPERATOR_TOKEN},
        "kiosks": {"lobby3": {"label": "三号大厅", "secret": KIOSK_SECRET}},
    }


TEA_HOUSE = tea_house()


class Real:
    """server.py as a process, and what simulated people do with it. Use it in ``with``."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self._config = write_config(folder, **sections)
        self._sections = sections
        self.port = 0

    def start(self) -> None:
        server = {"port": self.port, **self._sections.get("server", {})}
        write_config(self._config.parent, **{**self._sections, "server": server})
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "server.py"), "--config", str(self._config)],
            cwd=self._config.parent,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if " at http" in line:
                self.url = line.split(" at ")[1].split()[0]
                self.port = int(self.url.rsplit(":", 1)[1])
            if "simulated phone:" in line:
                self.wechat = line.split(": ")[1].strip().removesuffix("/phone")
                # Keep reading: the server would block once the pipe is full.
                self._reader = threading.Thread(target=self._process.stdout.read)
                self._reader.start()
                return
        raise AssertionError(f"the server did not start: {said}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def do(self, action: str, **what: Any) -> dict[str, Any]:
        """Let a person do something (scan, follow, text ...), or WeChat (faults ...)."""
        request = urllib.request.Request(
            f"{self.wechat}/simulator/{action}",
            json.dumps(what).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            done: dict[str, Any] = json.loads(answer.read() or b"{}")
        return done

    def mini_program(self, action: str, person: str, scene: str, **more: Any) -> None:
        """Have the mini program call ``/api/miniprogram/scan`` or ``confirm`` for a person."""
        code = self.do("mini_program/login", person=person)["code"]
        said = json.dumps({"scene": scene, "code": code, **more}).encode()
        url = f"{self.url}/api/miniprogram/{action}"
        urllib.request.urlopen(urllib.request.Request(url, said), timeout=20).close()

    def operator(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask one of the operator's routes."""
        bearer = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        said = json.dumps(body).encode() if body else None
        asked = urllib.request.Request(f"{self.url}{path}", said, bearer, method=method)
        with urllib.request.urlopen(asked, timeout=20) as answer:
            told: dict[str, Any] = json.loads(answer.read() or "{}")
        return told

    def chat(self, person: str) -> list[str]:
        """What stands in that person's chat with the account, oldest first."""
        with urllib.request.urlopen(f"{self.wechat}/simulator/chat/{person}", timeout=20) as answer:
            return [line["text"] for line in json.load(answer)["lines"]]

    def calls(self, path: str) -> int:
        """How often WeChat's `path` was called."""
        with urllib.request.urlopen(f"{self.wechat}/simulator/calls", timeout=20) as answer:
            return int(json.load(answer).get(path, 0))

    def forget(self) -> None:
        """Lose the store of a server that was stopped."""
        for file in (self._config.parent / "data").glob("scanpush.db*"):
            file.unlink()

    def no_faults(self) -> None:
        """Have the simulated WeChat behave again."""
        request = urllib.request.Request(f"{self.wechat}/simulator/faults", method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()


class Phone:
    """WeChat's own browser on a person's phone, at the code of a `web` scene. Use it in
    ``with``."""

    def __init__(self, real: Real, person: str, nickname: str = "") -> None:
        self._real = real
        self._person = person
        real.do("people", person=person, nickname=nickname or person)
        self._http = httpx.Client(timeout=20, verify=False)

    def scan(self, content: str) -> None:
        """Open the code's address, allow it at WeChat, and come back to the server's question."""
        start = self._http.get(content)
        assert start.status_code == 302, start.text
        allowed = self._real.do("authorize", url=start.headers["Location"], person=self._person)
        back = self._http.get(allowed["redirect"])
        self._value = back.text.split('name="value" value="')[1].split('"')[0]

    def answer(self, allow: bool) -> None:
        """Press a button of the question."""
        said = {"value": self._value, "allow": str(int(allow))}
        url, origin = f"{self._real.url}/oauth/allow", {"Origin": self._real.url}
        assert self._http.post(url, data=said, headers=origin).status_code == 200

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()


class Way:
    """The network path from a browser to a server, which can be blocked piece by piece.

    Use it in ``with``.
    """

    def __init__(self, real: Real) -> None:
        self.asked: list[bytes] = []
        self._blocked: tuple[bytes, ...] = ()
        self._aside = Aside()
        self._proxy = Proxy(real.port, message=one_read)
        self._proxy.plan = self._plan

    def _plan(self, request: bytes) -> Fault:
        self.asked.append(request)
        return Fault.CUT if any(mark in request for mark in self._blocked) else Fault.PASS

    def block(self, *what: bytes) -> None:
        """From now on cut exactly these requests; open connections are cut once."""
        self._blocked = what
        self._aside.run(self._cut())

    async def _cut(self) -> None:
        self._proxy.cut()

    def saw(self, mark: bytes) -> bool:
        """Whether a request with this was made, blocked or not."""
        return any(mark in request for request in self.asked)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._proxy.port}"

    def __enter__(self) -> Self:
        self._aside.__enter__()
        self._aside.run(self._proxy.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._aside.run(self._proxy.close())
        self._aside.__exit__(kind, error, trace)
