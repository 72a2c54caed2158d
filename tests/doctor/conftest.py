"""What is refused is logged by the WeChat client as well; the command keeps its log silent."""

import pytest

from tests.conftest import UnexpectedLogs


@pytest.fixture(autouse=True)
def refusals_are_logged(logs: UnexpectedLogs) -> None:
    logs.expect("scanpush.(wechat|codes)|Redis may evict")
