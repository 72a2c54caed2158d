"""What the push side reports to whoever counts; services/metrics.py implements it."""

from typing import Protocol

from services.push.close_codes import Ending
from services.scenes.states import Scene


class PushCounters(Protocol):
    """Plain calls, made exactly once for each thing that happened. They must not raise or wait."""

    def socket_opened(self) -> None: ...

    def socket_ended(self, ending: Ending) -> None:
        """A socket left the hub: closed, or asked to close. Follows one `socket_opened`."""

    def upgrade_refused(self, code: str) -> None:
        """`code` is the error code of the answer."""

    def status_written(self) -> None:
        """A status document was written to a socket."""

    def ping_written(self) -> None: ...

    def delivered(self, scene: Scene) -> None:
        """A change of `scene` was written to its socket, which was there already."""


class NoCounters:
    """Counts nothing."""

    def socket_opened(self) -> None:
        return None

    def socket_ended(self, ending: Ending) -> None:
        return None

    def upgrade_refused(self, code: str) -> None:
        return None

    def status_written(self) -> None:
        return None

    def ping_written(self) -> None:
        return None

    def delivered(self, scene: Scene) -> None:
        return None
