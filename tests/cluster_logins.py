"""bench.cluster_logins as tests run it: a cluster of processes in which people log in."""

import asyncio
import re
import sys

from tests.processes import ROOT, environment
from tests.servers import need


async def cluster_logins(*arguments: str) -> tuple[dict[str, int], str]:
    """What the run counted, by name, and all that it said. Nothing was lost and nothing twice."""
    for program in ("nginx", "redis-server", "nx-27017"):
        need(program, hint="scripts/test installs it")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.cluster_logins", *arguments),
        # A slow machine is slower, and not flooded.
        *("--at-once", "40"),
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
    counts = re.findall(r"(?m)^(.+?) {2,}([\d,]+)$", text)
    return {name: int(number.replace(",", "")) for name, number in counts}, text
