"""A visit of scanpush for Locust: begin a scene, open its socket, have it scanned, acknowledge.

pip install -r bench/scenarios/requirements.txt
locust -f bench/scenarios/locustfile.py --headless --users 50 --host http://127.0.0.1:8888

The scan needs the simulator, to which the QR codes of the server lead.
"""

import json
import time
from urllib.parse import urlsplit

from locust import HttpUser, between, task
from websocket import WebSocket, WebSocketException, create_connection

PATIENCE_SECONDS = 10


class Visitor(HttpUser):
    """Comes to the login page, scans its code, and comes again."""

    wait_time = between(1, 3)

    @task
    def visit(self) -> None:
        answer = self.client.post("/api/scenes", json={}, name="begin")
        if answer.status_code != 201:
            return
        scene = answer.json()
        socket = self.measured("open", lambda: self.open(scene))
        if socket is None:
            return
        try:
            self.measured("scan_to_token", lambda: self.scan(scene, socket))
        finally:
            socket.close()

    def open(self, scene: dict) -> WebSocket:
        return create_connection(
            f"{self.host.replace('http', 'ws', 1)}/ws/{scene['scene_str']}",
            timeout=PATIENCE_SECONDS,
            origin=self.host,
            subprotocols=["scanpush.v1", f"watch.{scene['watch_token']}"],
        )

    def scan(self, scene: dict, socket: WebSocket) -> None:
        image = urlsplit(scene["qr"]["wechat_image"])
        person = {"scene_str": scene["scene_str"], "person": f"locust-{id(self)}"}
        scan = f"{image.scheme}://{image.netloc}/simulator/scan"
        self.client.post(scan, json=person, name="scan")
        status = json.loads(socket.recv())
        while "login" not in status:
            status = json.loads(socket.recv())
        socket.send(json.dumps({"type": "ack", "seq": status["seq"]}))
        while status["state"] != "consumed":
            status = json.loads(socket.recv())

    def measured(self, name: str, step):
        """The result of a step, which Locust counts with its time, or its failure."""
        began = time.perf_counter()
        result = error = None
        try:
            result = step()
        except (OSError, ValueError, WebSocketException) as caught:
            error = caught
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=(time.perf_counter() - began) * 1e3,
            response_length=0,
            exception=error,
        )
        return result
