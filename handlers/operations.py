"""What the operator's machines ask: ``/healthz``, ``/readyz``, ``/metrics``, ``/api/doctor``.

With several workers each answers for all. `OwnReadyHandler` and `OwnMetricsHandler` answer for one
process alone: the workers ask each other there.
"""

from handlers.base import BaseHandler
from services import VERSION
from services.errors import ApiError, unauthorized
from services.scenes.codes_ahead import codes_left


class HealthHandler(BaseHandler):
    """``GET /healthz``: this process answers."""

    def get(self) -> None:
        self.write_json({"status": "ok"})


class OwnReadyHandler(BaseHandler):
    """Whether this one process can finish logins; what the other workers ask."""

    async def get(self) -> None:
        await self.check()
        self.write_json({"status": "ready"})

    async def check(self) -> None:
        if self.container.push.draining:
            # From now on the load balancer sends new pages elsewhere.
            raise ApiError("overloaded", "This node is leaving.", retry_after=1)
        await self.container.store_watch.check()


class ReadyHandler(OwnReadyHandler):
    """``GET /readyz``: logins can be finished here; 503 while draining or without a store."""

    async def get(self) -> None:
        await self.check()
        document: dict[str, object] = {"status": "ready"}
        if (peers := self.container.worker_peers) is not None:
            document["processes"] = 1 + await peers.check_ready()
        self.write_json(document)


class OwnMetricsHandler(BaseHandler):
    """What this one process counts."""

    async def get(self) -> None:
        self.write_exposition(*self.container.metrics.exposition())

    def write_exposition(self, body: bytes, content_type: str) -> None:
        self.set_header("Content-Type", content_type)
        self.finish(body)


class MetricsHandler(OwnMetricsHandler):
    """``GET /metrics``, in the Prometheus text format."""

    async def get(self) -> None:
        if (peers := self.container.worker_peers) is None:
            await super().get()
        else:
            self.write_exposition(*await peers.exposition(self.container.metrics))


PROXY_HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Real-Ip",
    "Forwarded",
    "Via",
)


class DoctorHandler(BaseHandler):
    """``GET /api/doctor?account=``: how this request arrived, and what this process last had from
    and of WeChat for the account.

    For ``scripts/doctor``, which shows by a `proof` that it has the account's settings; everybody
    else gets 401, for any name.
    """

    async def get(self) -> None:
        container, asked = self.container, self.asked
        try:
            account = container.accounts.named(self.get_query_argument("account", ""))
        except ApiError:
            raise unauthorized() from None
        now = container.clock.now()
        if not account.proves(asked.bearer(), now):
            raise unauthorized()
        self.write_json(
            {
                "version": VERSION,
                "now": now,
                "public_url": container.settings.server.public_url,
                "peer": asked.peer,
                "address": asked.address,
                "scheme": asked.scheme,
                "host": asked.host,
                "headers": {
                    name: asked.headers[name] for name in PROXY_HEADERS if name in asked.headers
                },
                "codes_left": await codes_left(container.scenes, account.name, now),
                "elsewhere": account.watch.elsewhere,
                "callbacks": {
                    outcome: last._asdict() for outcome, last in account.watch.callbacks.items()
                },
            }
        )
