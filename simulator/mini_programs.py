"""The mini program on the simulated phone: wx.login codes, and its pages' calls to scanpush."""

import base64
import hashlib
import hmac
from typing import Any

import httpx

from simulator.config import SimulatedApp
from simulator.credentials import MINI_PROGRAM_LOGIN, PHONE_NUMBER, Grants
from simulator.people import Person

CALL_SECONDS = 10.0


class MiniPrograms:
    """What mini programs do on a phone. One person has one session_key per mini program."""

    def __init__(self, apps: dict[str, SimulatedApp], grants: Grants) -> None:
        self._apps = apps
        self._grants = grants

    def app(self, app_id: str = "") -> SimulatedApp:
        """The mini program of this app_id, the first one without.

        Raises:
            KeyError: there is none.
        """
        if not self._apps:
            raise KeyError("no mini program")
        return self._apps[app_id or next(iter(self._apps))]

    def login_code(self, person: Person, app_id: str = "") -> str:
        """What ``wx.login`` gives: single use, five minutes."""
        return self._grants.issue(self.app(app_id).app_id, person, MINI_PROGRAM_LOGIN)

    def phone_code(self, person: Person, app_id: str = "") -> str:
        """What the ``getPhoneNumber`` button gives."""
        return self._grants.issue(self.app(app_id).app_id, person, PHONE_NUMBER)

    @staticmethod
    def session_key(person: Person, app: SimulatedApp) -> str:
        """24 characters of base64, always the same for a person and an app."""
        key = hashlib.sha256(f"session_key\0{app.app_secret}\0{person.name}".encode())
        return base64.b64encode(key.digest()[:16]).decode("ascii")

    def session_matches(self, person: Person, app: SimulatedApp, signature: str) -> bool:
        """Whether `signature` is hmac_sha256(session_key, "") (page "checkSession")."""
        key = self.session_key(person, app).encode()
        return hmac.compare_digest(
            hmac.new(key, b"", hashlib.sha256).hexdigest().encode(), signature.encode()
        )

    async def scan(self, person: Person, scene: str, app_id: str = "") -> tuple[int, Any]:
        """The page was opened through its code: tell the server. Gives status and JSON."""
        return await self._call("scan", person, app_id, {"scene": scene})

    async def confirm(
        self, person: Person, scene: str, allow: bool, app_id: str = ""
    ) -> tuple[int, Any]:
        """The person pressed allow or deny."""
        return await self._call("confirm", person, app_id, {"scene": scene, "allow": allow})

    async def _call(
        self, action: str, person: Person, app_id: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        app = self.app(app_id)
        body["code"] = self.login_code(person, app.app_id)
        url = f"{app.server_url}/api/miniprogram/{action}"
        try:
            async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False) as client:
                answer = await client.post(url, json=body)
            return answer.status_code, answer.json()
        # ValueError: the answer is no JSON. The page then shows only that it was not possible.
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return 0, {}
