"""A WeChat on your laptop: its api, mp and open hosts, and phones that follow, scan and answer.

Made so that scanpush's real code runs against it unchanged. It behaves as WeChat's published
pages say, which each module names; where they say nothing, the behaviour is an option. Nothing
here is used when a real account is configured.
"""

from simulator.config import SimulatedAccount, SimulatedApp, SimulatorConfig
from simulator.messages import PushOptions
from simulator.pushes import Delivery
from simulator.quotas import Quota
from simulator.wechat import SimulatedWeChat

__all__ = [
    "Delivery",
    "PushOptions",
    "Quota",
    "SimulatedAccount",
    "SimulatedApp",
    "SimulatedWeChat",
    "SimulatorConfig",
]
