"""The sockets, and who may open one."""

from collections.abc import Callable, Mapping

from services.origins import request_scheme
from services.parts.ground import Ground
from services.push.service import PushService
from services.rate_limits import client_address
from services.scenes.login import LoginService


def build_push(ground: Ground, login: LoginService) -> PushService:
    """The push side, with the operator's limits."""
    settings = ground.settings
    return PushService(
        login,
        ground.backend.broker,
        ground.supervisor,
        ground.clock,
        lambda origin, headers, scheme: not ground.origins.is_foreign(
            origin, scheme, headers.get("Host", "")
        ),
        client=client_of(ground),
        counters=ground.metrics,
        address_group=ground.limits.group,
        ping_seconds=settings.push.ping_seconds,
        reserve_descriptors=settings.push.reserve_descriptors,
        messages_per_second=settings.limits.messages_per_second_per_socket,
        sockets_per_address=settings.limits.sockets_per_address,
    )


def client_of(ground: Ground) -> Callable[[str, Mapping[str, str]], tuple[str, str]]:
    """Whose request it is, by the peer's address and the headers of trusted proxies."""
    proxies = ground.settings.server.trusted_proxies

    def client(remote_ip: str, headers: Mapping[str, str]) -> tuple[str, str]:
        return (
            client_address(remote_ip, headers.get("X-Forwarded-For", ""), proxies),
            request_scheme(remote_ip, headers.get("X-Forwarded-Proto", ""), proxies),
        )

    return client
