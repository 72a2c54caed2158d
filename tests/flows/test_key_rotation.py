"""A rotation as other programs see it: PyJWT's and jose's clients, which keep the JWKS."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import pytest

from services.clock import SystemClock
from services.ids import UserId
from services.tokens.claims import Claims
from services.tokens.keys import add_key
from simulator.clock import TurnableClock
from tests.docs.pages import ROOT
from tests.faults.nodes import Balancer
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

MODULES = ROOT / "tests" / "browser"

Verify = Callable[[str], Awaitable[str]]
"""From a token to ``ok``, or why it is refused."""

JOSE = """
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";
const keys = createRemoteJWKSet(new URL(process.argv[1]));
for await (const token of createInterface({ input: process.stdin })) {
  await jwtVerify(token, keys).then(() => console.log("ok"), (error) => console.log(error.code));
}
"""


@asynccontextmanager
async def pyjwt_client(url: str) -> AsyncIterator[Verify]:
    client = jwt.PyJWKClient(url)

    def verify(token: str) -> str:
        try:
            key = client.get_signing_key_from_jwt(token)
            jwt.decode(token, key, ["ES256"], audience="scanpush")
        except jwt.PyJWTError as error:
            return repr(error)
        return "ok"

    yield lambda token: asyncio.to_thread(verify, token)


@asynccontextmanager
async def jose_client(url: str) -> AsyncIterator[Verify]:
    if not (shutil.which("node") and (MODULES / "node_modules" / "jose").exists()):
        pytest.skip("node or jose is not installed: npm install in tests/browser")
    node = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", JOSE, url),
        cwd=MODULES,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert node.stdin is not None and node.stdout is not None
    to, back = node.stdin, node.stdout

    async def verify(token: str) -> str:
        to.write(f"{token}\n".encode())
        return (await back.readline()).decode().strip()

    try:
        yield verify
    finally:
        to.close()
        await node.wait()


def token(stack: Stack) -> str:
    """As a login of now gets it, by the machine's clock, which the clients have as well."""
    now = int(time.time())
    claims = Claims(jti="j", iat=now, exp=now + 7200, is_new=False)
    return stack.container.issuer.mint(
        subject=UserId("u"), claims=claims, account="default", amr=["x"]
    )


@pytest.mark.parametrize("client", [pyjwt_client, jose_client])
async def test_a_rotation_refuses_nothing(
    tmp_path: Path, client: Callable[[str], "asynccontextmanager[Verify]"]
) -> None:
    """A client that asked before the new key was published, and one that asked just after: neither
    has to ask again for as long as it may keep the JWKS. Starting again changes nothing."""
    clock = TurnableClock(SystemClock())
    balancer = Balancer()
    await balancer.open()
    url = f"http://127.0.0.1:{balancer.port}/.well-known/jwks.json"
    try:
        async with client(url) as early, client(url) as late:
            async with Stack(tmp_path, clock) as stack:
                balancer.nodes = [stack.port]
                first = token(stack)
                assert await early(first) == "ok"
            new = add_key(tmp_path / "keys.json", "ES256")
            for _ in range(2):
                async with Stack(tmp_path, clock) as stack:
                    balancer.nodes = [stack.port]
                    jwks = (await stack.http.get("/.well-known/jwks.json")).json()["keys"]
                    assert new.kid in {key["kid"] for key in jwks}
                    assert await late(token(stack)) == "ok"
                    balancer.nodes = []
                    clock.advance(440)
                    assert await early(token(stack)) == "ok"
            async with Stack(tmp_path, clock) as stack:
                clock.advance(30)
                stack.container.key_rotations[0].choose()
                assert jwt.get_unverified_header(token(stack))["kid"] == new.kid
                # No node can be asked any more: the client has the key already.
                assert await late(token(stack)) == "ok"
                assert await late(first) == "ok"
                assert stack.container.issuer.verify(first, time.time()).subject == "u"
    finally:
        await balancer.close()
