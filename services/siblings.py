"""What one of several processes says for all of them: whether they are ready, what they count.

Whoever asks the port reaches any one process. It asks the others, each at a socket in a folder of
their own, and answers for all.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.errors import StoreUnavailable
from services.metrics import Metrics
from services.processes import Place

ANSWER_SECONDS = 3
"""Above the time that a process itself waits for its stores."""

PROCESS_UP = "scanpush_process_up"
PROCESS_UP_HELP = "Whether a process answers, where server.processes is above 1."


class Siblings:
    """The processes of one parent, seen from one of them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._others = {
            number: make_client_at(place.address(number))
            for number in range(place.count)
            if number != place.number
        }

    async def close(self) -> None:
        for client in self._others.values():
            await client.aclose()

    async def check_ready(self) -> int:
        """How many others are ready.

        One that is being started again does not count: no connection goes to it. One that hangs
        does, for the kernel goes on to give it connections.

        Raises:
            StoreUnavailable: one is not ready, or does not answer in time.
        """
        statuses = await asyncio.gather(*(self._status(number) for number in self._others))
        if any(status not in (None, 200) for status in statuses):
            raise StoreUnavailable("another process of this server is not ready")
        return sum(status == 200 for status in statuses)

    async def _status(self, number: int) -> int | None:
        """None: nobody listens."""
        try:
            return (await self._others[number].get("/readyz")).status_code
        except httpx.ConnectError:
            return None
        except httpx.HTTPError:
            return 504

    async def exposition(self, own: Metrics) -> tuple[bytes, str]:
        """All that the processes count, each series with its process as a label.

        Sums would be wrong: a process that is started again counts from 0, and the sum of all
        would look like a reset of all.
        """
        texts = await asyncio.gather(*(self._metrics(number) for number in self._others))
        expositions: dict[int, str | None] = dict(zip(self._others, texts, strict=True))
        expositions[self.place.number] = own.exposition()[0].decode()
        return generate_latest(_Merged(expositions)), CONTENT_TYPE_LATEST

    async def _metrics(self, number: int) -> str | None:
        try:
            answer = await self._others[number].get("/metrics")
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == 200 else None


def make_client_at(address: Path) -> httpx.AsyncClient:
    """For the process that answers at that socket."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(address), verify=False),
        base_url="http://sibling",
        timeout=ANSWER_SECONDS,
    )


class _Merged(Collector):
    """Several expositions as one; what `generate_latest` asks for."""

    def __init__(self, expositions: dict[int, str | None]) -> None:
        self._expositions = expositions

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        up = GaugeMetricFamily(PROCESS_UP, PROCESS_UP_HELP, None, ["process"])
        for number, text in sorted(self._expositions.items()):
            up.add_metric([str(number)], 0 if text is None else 1)
            for family in text_string_to_metric_families(text or ""):
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "process": str(number)}
                    metric.add_sample(sample.name, labels, sample.value)
        yield up
        yield from merged.values()
