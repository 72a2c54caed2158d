"""Finds out which server a URL leads to, before thousands of sockets are opened towards it."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from bench.kit.limits import resolve
from bench.kit.wire import BadUrl, Target

ASK_SECONDS = 5.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class NotUsable(Exception):
    """The server cannot be used for a run; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a server. `simulator` is None when it talks to a real account."""

    target: Target
    address: str
    simulator: Target | None


def ask(
    target: Target,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] = NO_HEADERS,
) -> tuple[int, bytes]:
    """One small request. Raises NotUsable when there is no answer."""
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    connection = kind(target.host, target.port, timeout=ASK_SECONDS)
    kinds = {"Content-Type": "application/json"} if body else {}
    if target.pages_at:
        kinds["Origin"] = target.pages_at
    try:
        connection.request(method, target.path + path, body or None, {**kinds, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        raise NotUsable(
            f"no answer from {target.origin}: {error}. Is scanpush running there? "
            "`scripts/load --serve` starts one for the run."
        ) from None
    finally:
        connection.close()


def simulator_at(target: Target) -> bool:
    """Whether scanpush's simulator answers there: it refuses a scan of nothing with 400 JSON."""
    status, body = ask(target, "POST", "/simulator/scan", b"{}")
    try:
        return status == 400 and isinstance(json.loads(body), dict)
    except ValueError:
        return False


def announced_simulator(target: Target) -> Target | None:
    """The simulator whose phone page the server's own QR codes lead to; None: a real account.

    It begins one scene and cancels it at once.

    Raises:
        NotUsable: the server begins no scene.
    """
    status, body = ask(target, "POST", "/api/scenes", b"{}")
    if status != 201:
        raise NotUsable(f"{target.origin} begins no scene: {body.decode(errors='replace')[:300]}")
    scene = json.loads(body)
    watch = {"Authorization": f"Bearer {scene['watch_token']}"}
    ask(target, "DELETE", f"/api/scenes/{scene['scene_str']}", headers=watch)
    try:
        phone = Target.parse(scene["qr"]["wechat_image"])
    except (KeyError, BadUrl):
        return None
    if phone.host == "weixin.qq.com" or phone.host.endswith(".weixin.qq.com"):
        return None
    simulator = Target(phone.scheme, phone.host, phone.port)
    return simulator if simulator_at(simulator) else None


def discover(
    url: str, simulator_url: str | None, pages_at: str = "", *, announced: bool = True
) -> Found:
    """Look at both addresses; without the simulator's, the server may have `announced` it.

    Raises:
        NotUsable: nothing there, or something else than scanpush.
    """
    try:
        target = replace(Target.parse(url), pages_at=pages_at)
        simulator = Target.parse(simulator_url) if simulator_url else None
        _, (address, _) = resolve(target.host, target.port)
    except BadUrl as error:
        raise NotUsable(str(error)) from None
    except OSError as error:
        raise NotUsable(f"{target.host} has no address: {error}") from None
    status, _ = ask(target, "GET", "/healthz")
    if status != 200:
        raise NotUsable(f"{url} answers /healthz with {status}: that is not a scanpush")
    if simulator is None:
        simulator = announced_simulator(target) if announced else None
    elif not simulator_at(simulator):
        raise NotUsable(f"there is no scanpush simulator at {simulator_url}")
    return Found(target, address, simulator)
