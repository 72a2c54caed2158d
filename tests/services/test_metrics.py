"""services.metrics: what happened can be read off, in names and labels that stay."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.metrics import MOST_ERRCODES, MetricName, Metrics
from services.push.close_codes import Ending


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by name and labels, as Prometheus reads them."""
    text = metrics.exposition()[0].decode()
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(now=lambda: 1000.0, endings=Ending)


def test_every_name_is_ours(metrics: Metrics) -> None:
    """Those of the process too."""
    assert all(name.startswith("scanpush_") for name in samples(metrics))


def test_every_name_is_explained_and_exposed(metrics: Metrics) -> None:
    """One sentence each, and no name without a metric."""
    text = metrics.exposition()[0].decode()
    for name in MetricName:
        assert re.fullmatch(r"[A-Z].*\.", name.help)
        assert f"# HELP {name} {name.help}" in text


def test_the_content_type_is_the_text_format(metrics: Metrics) -> None:
    """Prometheus asks for it."""
    assert metrics.exposition()[1].startswith("text/plain; version=")


def test_sockets_are_a_gauge_and_two_counters(metrics: Metrics) -> None:
    """Two came, one went."""
    metrics.socket_opened()
    metrics.socket_opened()
    metrics.socket_ended(Ending.REPLACED)
    read = samples(metrics)
    assert read["scanpush_sockets"] == 1
    assert read["scanpush_sockets_opened_total"] == 2
    assert read["scanpush_sockets_ended_total{replaced}"] == 1


def test_every_ending_is_there_from_the_start(metrics: Metrics) -> None:
    """An alarm on a rate works before the first time."""
    read = samples(metrics)
    assert all(read[f"scanpush_sockets_ended_total{{{ending}}}"] == 0 for ending in Ending)


def test_long_polls_are_asked_for(metrics: Metrics) -> None:
    """The hub knows; nothing is counted twice."""
    waiting = [1, 2, 3]
    metrics.count_long_polls(lambda: len(waiting))
    assert samples(metrics)["scanpush_long_polls"] == 3
    waiting.clear()
    assert samples(metrics)["scanpush_long_polls"] == 0


def test_counters_count_by_label(metrics: Metrics) -> None:
    """Each event under its word."""
    metrics.scene_begun("official_account")
    metrics.scene_ended("consumed")
    metrics.login(is_new=True)
    metrics.upgrade_refused("forbidden")
    metrics.rate_limited("scenes")
    metrics.rate_limited("scenes")
    metrics.status_written()
    metrics.ping_written()
    read = samples(metrics)
    assert read["scanpush_scenes_begun_total{official_account}"] == 1
    assert read["scanpush_scenes_ended_total{consumed}"] == 1
    assert read["scanpush_logins_total{true}"] == 1
    assert read["scanpush_upgrades_refused_total{forbidden}"] == 1
    assert read["scanpush_rate_limited_total{scenes}"] == 2
    assert read["scanpush_statuses_written_total"] == 1
    assert read["scanpush_pings_written_total"] == 1


def test_times_fall_into_buckets(metrics: Metrics) -> None:
    """Callback, push and calls to WeChat."""
    metrics.callback("logged_in", 0.003)
    metrics.login_pushed(999.9996)
    metrics.wechat_call("/cgi-bin/qrcode/create", "ok", 0.2)
    read = samples(metrics)
    assert read["scanpush_callbacks_total{logged_in}"] == 1
    assert read["scanpush_callback_seconds_bucket{0.0025}"] == 0
    assert read["scanpush_callback_seconds_bucket{0.005}"] == 1
    assert read["scanpush_push_seconds_bucket{0.0005}"] == 1
    assert read["scanpush_wechat_calls_total{/cgi-bin/qrcode/create}{ok}"] == 1
    assert read["scanpush_wechat_call_seconds_count{/cgi-bin/qrcode/create}"] == 1


def test_errcodes_cannot_fill_the_memory(metrics: Metrics) -> None:
    """They come from outside: beyond a limit they count together."""
    for errcode in range(MOST_ERRCODES + 10):
        metrics.errcode(errcode)
    metrics.errcode(1)
    read = samples(metrics)
    assert read["scanpush_wechat_errcodes_total{1}"] == 2
    assert read["scanpush_wechat_errcodes_total{other}"] == 10


def test_a_credential_counts_down_by_itself(metrics: Metrics) -> None:
    """From the moment it ends, and never below zero."""
    metrics.credential_ends("default", at=1600)
    metrics.credential_ends("shop", at=5)
    read = samples(metrics)
    assert read["scanpush_wechat_credential_remaining_seconds{default}"] == 600
    assert read["scanpush_wechat_credential_remaining_seconds{shop}"] == 0


def test_two_servers_in_one_process_do_not_share(metrics: Metrics) -> None:
    """Each has a registry of its own."""
    metrics.socket_opened()
    assert samples(Metrics())["scanpush_sockets"] == 0


def test_a_check_of_a_store_leaves_its_time_and_its_result(metrics: Metrics) -> None:
    """The newest result, and all times."""
    metrics.store_checked("users", 0.2, up=True)
    metrics.store_checked("users", 2.0, up=False)
    read = samples(metrics)
    assert read["scanpush_store_up{users}"] == 0
    assert read["scanpush_store_seconds_count{users}"] == 2
