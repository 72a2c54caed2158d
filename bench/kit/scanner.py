"""Phones that scan: those of scanpush's own simulator."""

import json
from collections.abc import Callable

from bench.kit import wire
from bench.kit.crew import reason
from bench.kit.http import HttpPool
from bench.kit.loop import Loop

SCAN_PATH = "/simulator/scan"
LINKS = 64


class SimulatorScanner:
    """Asks the simulator to let one of its people scan a scene."""

    def __init__(
        self, loop: Loop, simulator: wire.Target, person: str, people: int, timeout: float
    ) -> None:
        self._simulator = simulator
        self._person = person
        self._people = people
        self._turn = 0
        self._http = HttpPool(loop, simulator, LINKS, timeout)

    def scan(self, scene_str: str, failed: Callable[[str], None]) -> None:
        """See `Scanner`. People take turns, so that one row of the store is not all that moves."""
        self._turn = (self._turn + 1) % self._people
        body = json.dumps({"scene_str": scene_str, "person": f"{self._person}-{self._turn}"})
        path = self._simulator.path + SCAN_PATH
        headers = ["Content-Type: application/json"]

        def answered(status: int, answer: bytes, now: float) -> None:
            if not 200 <= status < 300:
                failed(reason(status, answer))

        self._http.ask(
            wire.http_request("POST", path, self._simulator, body.encode(), headers), answered
        )
