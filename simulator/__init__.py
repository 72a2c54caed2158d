"""A WeChat on your laptop: its api, mp and open hosts, and phones that follow, scan and answer.

Made so that scanpush's real code runs against it unchanged. It behaves as WeChat's published
pages say, which each module names; where they say nothing, the behaviour is an option. Nothing
here is used when a real account is configured.
"""

from simulator.config import Quota, SimulatedAccount, SimulatedApp, SimulatorConfig
from simulator.phones import Delivery, PushOptions
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
