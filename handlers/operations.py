"""What the operator's machines ask: alive, ready, measured."""

from handlers.base import BaseHandler
from services.errors import ApiError


class HealthHandler(BaseHandler):
    """``GET /healthz``: this process answers."""

    def get(self) -> None:
        self.write_json({"status": "ok"})


class ReadyHandler(BaseHandler):
    """``GET /readyz``: logins can be finished here; 503 while draining or without a store."""

    async def get(self) -> None:
        if self.container.push.draining:
            raise ApiError("overloaded", "This node is leaving.", retry_after=1)
        await self.container.check_stores()
        self.write_json({"status": "ready"})


class MetricsHandler(BaseHandler):
    """``GET /metrics``, in the Prometheus text format."""

    def get(self) -> None:
        body, content_type = self.container.metrics.exposition()
        self.set_header("Content-Type", content_type)
        self.finish(body)
