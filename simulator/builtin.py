"""The simulated WeChat inside the server process, while no account is configured.

`simulate` starts it and gives the server settings that point at it; everything else that then
runs is the real code.
"""

import logging
import socket
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from services.errors import SettingsError
from services.origins import url_host
from services.settings import hosts
from services.settings.models import Settings, simulated
from simulator.config import SimulatedApp, SimulatorConfig
from simulator.wechat import SimulatedWeChat

log = logging.getLogger("scanpush.simulator")


class Simulation:
    """One simulated WeChat in this process, and the settings that make the server use it.

    Args:
        server_url: where the simulated WeChat reaches this server.
    """

    def __init__(self, settings: Settings, server_url: str) -> None:
        callback = f"{server_url}/wechat/callback"
        named = settings.wechat.accounts
        config = SimulatorConfig.generated(
            *(f"{callback}/{name}" if number else callback for number, name in enumerate(named)),
            server_url=server_url,
        )
        accounts = tuple(
            replace(account, mode=settings_of.mode)
            for account, settings_of in zip(config.accounts, named.values(), strict=True)
        )
        # Beside the embedded store, whichever store is used: so a page that was shown before a
        # restart still shows a code that a phone can scan.
        kept = settings.embedded.path.with_name("simulator.db")
        try:
            self._simulated = SimulatedWeChat(replace(config, accounts=accounts, state_file=kept))
        except OSError as error:
            # Not louder: where the folder cannot be used, the store says so, in words of its own.
            log.debug("the simulated WeChat keeps nothing over a restart: %s", error)
            self._simulated = SimulatedWeChat(replace(config, accounts=accounts))
        self._simulated.start()
        self.settings = self._adapted(settings)

    @property
    def url(self) -> str:
        """Where its controls are (``/simulator/...``)."""
        return self._simulated.url

    @property
    def phone_base(self) -> str:
        """Below what address the simulated phone's pages are."""
        return self._simulated.phone_base

    @property
    def phone_url(self) -> str:
        """Where a person finds the simulated phone."""
        return f"{self.phone_base}/phone"

    def open_to_lan(self, host: str = "") -> str:
        """Let real phones of this network open the phone's page, and nothing else: its address.

        Args:
            host: this machine's address there; empty: it is found out.

        Raises:
            SettingsError: this machine has no address in a private network.
        """
        address = host or _lan_address()
        if not all(map(hosts.is_private, hosts.literal_addresses(address))):
            raise SettingsError(
                "--lan", "this machine's address is public, and anybody could log in"
            )
        try:
            self._simulated.start_phone_listener(address)
            return self.phone_url
        except OSError as error:
            raise SettingsError("--lan", f"cannot listen on the network: {error}") from None

    async def stop(self) -> None:
        await self._simulated.stop()

    def _adapted(self, settings: Settings) -> Settings:
        config = self._simulated.config
        accounts = {
            name: account.model_copy(
                update={
                    "app_id": simulated.app_id,
                    "app_secret": SecretStr(simulated.app_secret),
                    "callback_token": SecretStr(simulated.callback_token),
                    "encoding_aes_key": SecretStr(simulated.encoding_aes_key),
                }
            )
            for (name, account), simulated in zip(
                settings.wechat.accounts.items(), config.accounts, strict=True
            )
        }
        wechat = settings.wechat
        wechat = wechat.model_copy(
            update={
                "api_base": self._simulated.api_base,
                "mp_base": self._simulated.mp_base,
                "open_base": self._simulated.open_base,
                "accounts": accounts,
                "mini_program": wechat.mini_program.model_copy(update=_of(config.mini_programs[0])),
                "website": wechat.website.model_copy(update=_of(config.websites[0])),
            }
        )
        return settings.model_copy(update={"wechat": wechat})


def simulate(settings: Settings, host: str, port: int) -> Simulation | None:
    """Start the simulated WeChat for a server that this machine reaches at `host` and `port`; None
    where WeChat is real.

    Build the server with the `settings` of what is returned, and stop it after the server.
    """
    if not simulated(settings):
        return None
    return Simulation(settings, f"http://{url_host(host)}:{port}")


def _of(app: SimulatedApp) -> dict[str, Any]:
    return {"app_id": app.app_id, "app_secret": SecretStr(app.app_secret)}


def _lan_address() -> str:
    """This machine's address in its network. A UDP socket is only pointed there; nothing is sent.

    Raises:
        SettingsError: there is none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            raise SettingsError("--lan", "this machine is in no network") from None
        return str(probe.getsockname()[0])
