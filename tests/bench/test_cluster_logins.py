"""The run that breaks a cluster while people log in, at a size that fits between other tests."""

import asyncio
import re
import sys

import pytest

from tests.processes import ROOT, environment
from tests.servers import need


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=280)
async def test_a_thousand_logins_survive_kills() -> None:
    """Nodes are killed every five seconds and Redis once: nothing is lost and nothing twice."""
    for program in ("nginx", "redis-server", "nx-27017"):
        need(program, hint="scripts/test installs it")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.cluster_logins"),
        *("--logins", "1000", "--per-second", "50", "--kill-every", "5"),
        *("--at-once", "40"),  # a slow machine is slower, and not flooded
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    text = out.decode()
    assert process.returncode == 0 and "nothing lost, nothing twice" in text, text
    counts = {
        name: int(number.replace(",", ""))
        for name, number in re.findall(r"(?m)^(.+?) {2,}([\d,]+)$", text)
    }
    # How many pages miss their deadline depends on the machine; most logins have to be tested.
    assert counts["callbacks answered 200"] > 500 and counts["redis restarted"] == 1
    assert counts["nodes killed"] >= 2
