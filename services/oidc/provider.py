"""The parts of the OpenID Provider, and how they are put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from services.clock import Clock
from services.oidc import discovery
from services.oidc.browser import AuthorizationService
from services.oidc.clients import Clients
from services.oidc.device import DeviceGrants, DeviceService
from services.oidc.grants import Codes
from services.oidc.logout import ClientLogouts, LogoutService
from services.oidc.requests import PendingLogins, PushedRequests
from services.oidc.sessions import BrowserSessions, IdTokenHints
from services.oidc.tokens import TokenService
from services.people.store import UserStore
from services.scenes.login import LoginService
from services.scenes.store import SceneStore
from services.sessions.service import SessionService
from services.sessions.store import SessionStore
from services.sessions.tokens import RefreshTokens
from services.settings.models import Settings
from services.tasks import Supervisor
from services.tokens.issuer import Issuer
from services.tokens.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Provider:
    """What the handlers ask, by role."""

    clients: Clients
    metadata: Mapping[str, Any]
    """What ``/.well-known/openid-configuration`` says."""
    codes: Codes
    device_grants: DeviceGrants
    tokens: TokenService
    authorization: AuthorizationService
    devices: DeviceService
    logout: LogoutService


def build_provider(
    settings: Settings,
    own_url: str,
    amr: Sequence[str],
    scenes: SceneStore,
    login: LoginService,
    sessions: SessionService,
    store: SessionStore,
    users: UserStore,
    refresh_tokens: RefreshTokens,
    issuer: Issuer,
    verifier: Verifier,
    http: httpx.AsyncBaseTransport,
    supervisor: Supervisor,
    clock: Clock,
) -> Provider:
    """Make the parts for the clients of the settings, which hear of every session that ends.

    Args:
        own_url: the claim ``iss``: where browsers reach this server.
        amr: how people are authenticated here, for the claim of that name.
        store: that of `sessions`.
    """
    refresh_ttl_seconds = settings.sessions.refresh_ttl_seconds
    session_ttl_seconds = settings.oidc.session_ttl_seconds
    clients = Clients(settings.oidc, offline=refresh_ttl_seconds > 0)
    codes = Codes(scenes, used_seconds=settings.jwt.ttl_seconds)
    device_grants = DeviceGrants(scenes, clock)
    tokens = TokenService(
        clients,
        codes,
        device_grants,
        sessions,
        store,
        refresh_tokens,
        users,
        issuer,
        verifier,
        clock,
        issuer_url=own_url,
        ttl_seconds=settings.jwt.ttl_seconds,
        refresh_ttl_seconds=refresh_ttl_seconds,
    )
    logouts = ClientLogouts(clients, store, issuer, http, supervisor, clock, issuer=own_url)
    sessions.on_ended.append(logouts.tell)
    browsers = BrowserSessions(
        store,
        sessions,
        users,
        clock,
        amr=amr,
        ttl_seconds=session_ttl_seconds,
        refresh_ttl_seconds=refresh_ttl_seconds,
    )
    hints = IdTokenHints(verifier, clients, issuer=own_url)
    authorization = AuthorizationService(
        clients,
        codes,
        PushedRequests(scenes),
        PendingLogins(scenes),
        browsers,
        scenes,
        login,
        verifier,
        hints,
        logouts,
        clock,
        issuer=own_url,
        session_ttl_seconds=session_ttl_seconds,
    )
    return Provider(
        clients,
        discovery.metadata(own_url, settings.oidc, offline=refresh_ttl_seconds > 0, amr=amr),
        codes,
        device_grants,
        tokens,
        authorization,
        DeviceService(
            device_grants, clients, browsers, clock, session_ttl_seconds=session_ttl_seconds
        ),
        LogoutService(clients, store, sessions, browsers, hints, clock),
    )
