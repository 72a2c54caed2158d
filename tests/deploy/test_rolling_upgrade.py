"""Two nodes behind nginx are replaced by this version, one after the other, while people log in."""

import subprocess

import pytest

from tests.cluster_logins import cluster_logins
from tests.processes import ROOT

BEFORE = "9283374"
"""What is upgraded from while there is no tag: the last version without traces."""

LOGINS = 600


def neighbour() -> str:
    """The last tag below this tree, else `BEFORE`."""
    command = ["git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0"]
    tag = subprocess.run(command, capture_output=True, text=True)
    version = tag.stdout.strip() or BEFORE
    known = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", f"{version}^{{commit}}"]
    )
    if known.returncode != 0:
        pytest.skip(f"SKIPPED LOUDLY: {version} is not in this copy of the repository")
    return version


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(400)
@pytest.mark.gen_test(timeout=380)
async def test_an_upgrade_is_not_noticed() -> None:
    """No login is lost or given twice, and both nodes leave with 0."""
    counts, text = await cluster_logins(
        *("--upgrade-from", neighbour(), "--logins", str(LOGINS), "--per-second", "20")
    )
    assert counts["nodes upgraded"] == 2
    assert counts["callbacks answered 200"] == counts["ended consumed"] == LOGINS, text
