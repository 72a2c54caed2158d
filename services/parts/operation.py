"""What nodes tell one another, and what the operator's page is told."""

from services.nodes import Nodes
from services.operator import OperatorService
from services.parts.ground import Ground
from services.push.service import PushService
from services.tokens.shared_keys import SharedKeys
from services.wechat.accounts import Accounts


def build_nodes(ground: Ground, push: PushService) -> Nodes:
    """This node's figures for the others, and theirs for this one."""
    settings = ground.settings
    return Nodes(
        ground.node,
        ground.backend.scenes,
        ground.clock,
        lambda: {
            "sockets": push.hub.sockets,
            "waiting_polls": push.hub.waiting,
            "draining": push.draining,
        },
        shared=settings.backend == "distributed" and bool(settings.operator.token),
    )


def build_operator(ground: Ground, accounts: Accounts, nodes: Nodes) -> OperatorService | None:
    """The operator's page, where there is an operator's token."""
    if ground.timeline is None:
        return None
    return OperatorService(
        ground.backend.scenes,
        accounts,
        ground.metrics,
        ground.timeline,
        nodes,
        ground.clock,
        {"backend": ground.settings.backend, "simulated": ground.settings.wechat.is_simulated},
    )


def build_shared_keys(ground: Ground) -> SharedKeys | None:
    """The other nodes' public keys, where there are other nodes."""
    settings = ground.settings
    if settings.backend != "distributed":
        return None
    return SharedKeys(
        ground.issuer,
        ground.backend.scenes,
        ground.clock,
        keep_seconds=settings.jwt.ttl_seconds,
    )
