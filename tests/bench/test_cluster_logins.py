"""The run that breaks a cluster while people log in, at a size that fits between other tests."""

import pytest

from tests.cluster_logins import cluster_logins


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=280)
async def test_a_thousand_logins_survive_kills() -> None:
    """Nodes are killed every five seconds and Redis once: nothing is lost and nothing twice."""
    counts, _ = await cluster_logins(
        *("--logins", "1000", "--per-second", "50", "--kill-every", "5")
    )
    # How many pages miss their deadline depends on the machine; most logins have to be tested.
    assert counts["callbacks answered 200"] > 500 and counts["redis restarted"] == 1
    assert counts["nodes killed"] >= 2


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=280)
async def test_the_event_of_each_login_survives_kills() -> None:
    """The receiver is down for half of the time, and Redis is killed as well: every login is told,
    once or more, in the order of each person."""
    counts, _ = await cluster_logins(
        *("--events", "--logins", "300", "--per-second", "15", "--kill-every", "5")
    )
    assert counts["logins told"] >= counts["callbacks answered 200"] > 150
    assert counts["nodes killed"] >= 2 and counts["redis restarted"] == 1
