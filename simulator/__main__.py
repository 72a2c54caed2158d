"""``python -m simulator``: the simulated WeChat on its own, for a scanpush started elsewhere."""

import argparse
import asyncio
import ipaddress
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from services.errors import SettingsError
from services.logs import guard_output
from services.settings import hosts
from services.settings.outgoing import drop_key_log, trusted_authorities
from simulator.config import SimulatorConfig
from simulator.mistakes import MISTAKES, make_mistake
from simulator.wechat import SimulatedWeChat

DESCRIPTION = """A simulated WeChat: its api, mp and open hosts on one port, and a phone page that
scans. Put the printed settings into config.yaml, start scanpush, open its page. docs/simulator.md
shows how to use it with other programs."""

CALLBACK_URL = "http://127.0.0.1:8888/wechat/callback"


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=DESCRIPTION)
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", help="address to listen at (%(default)s)"
    )
    parser.add_argument("--port", type=_port, default=8889, help="port, 0: any (%(default)s)")
    parser.add_argument(
        "--callback-url",
        type=_url,
        action="append",
        metavar="URL",
        help=f"where callbacks are received ({CALLBACK_URL}); each further one makes an account",
    )
    parser.add_argument(
        "--mode",
        choices=("plaintext", "compatible", "safe"),
        default="safe",
        help="how callbacks are encrypted (%(default)s)",
    )
    parser.add_argument(
        "--format",
        choices=("xml", "json"),
        default="xml",
        help="how callbacks are written (%(default)s)",
    )
    parser.add_argument(
        "--allow",
        type=_network,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="IP allow list of the accounts: an address or a network (10.0.0.0/8); may be repeated",
    )
    parser.add_argument(
        "--mistake",
        choices=tuple(MISTAKES),
        action="append",
        default=[],
        metavar="NAME",
        help="set WeChat's side up wrongly, for scripts/doctor to find; may be repeated: "
        + "; ".join(f"{name}: {mistake.meaning}" for name, mistake in MISTAKES.items()),
    )
    parser.add_argument(
        "--lan", type=_host, metavar="ADDRESS", help="serve the phone page there as well"
    )
    parser.add_argument(
        "--seed", type=int, help="make every secret and id the same at each start with this number"
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="know codes, people, menus, media and secrets of the earlier start with this file",
    )
    options = parser.parse_args(arguments)
    drop_key_log(os.environ)
    if any(url.startswith("https://") for url in options.callback_url or []):
        try:
            trusted_authorities(os.environ)
        except SettingsError as error:
            parser.error(str(error))
    return options


def _host(text: str) -> str:
    """Where any client can be any person, only this machine and private networks may connect."""
    try:
        addresses = hosts.addresses_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not all(map(hosts.is_private, addresses)):
        raise argparse.ArgumentTypeError(
            "must be an address of this machine or of a private network, for the simulator lets "
            "anybody log in as anybody"
        )
    return text


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (0 to 65535)")
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address and no network") from None
    return text


def _settings(wechat: SimulatedWeChat) -> str:
    """The lines for config.yaml. The secrets are worth nothing outside of this simulator."""
    mini_program, website = wechat.config.mini_programs[0], wechat.config.websites[0]
    accounts = "".join(f"""
    {f"account{number}" if number > 1 else "default"}:
      # callbacks: {account.callback_url}
      app_id: {account.app_id}
      app_secret: "{account.app_secret}"
      callback_token: "{account.callback_token}"
      encoding_aes_key: "{account.encoding_aes_key}"
      mode: {account.mode}""" for number, account in enumerate(wechat.config.accounts, 1))
    return f"""# In place of the section wechat of config.yaml, or alone: scripts/run --config FILE
wechat:
  simulator: false
  api_base: {wechat.api_base}
  mp_base: {wechat.mp_base}
  open_base: {wechat.open_base}
  accounts:{accounts}
  mini_program: {{app_id: {mini_program.app_id}, app_secret: "{mini_program.app_secret}"}}
  website: {{app_id: {website.app_id}, app_secret: "{website.app_secret}"}}
"""


async def _run(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    callback_urls = options.callback_url or [CALLBACK_URL]
    # The mini program's pages call the server that also receives the callbacks.
    server = urlsplit(callback_urls[0])
    config = SimulatorConfig.generated(
        *callback_urls,
        mode=options.mode,
        data_format=options.format,
        server_url=f"{server.scheme}://{server.netloc}",
        seed=options.seed,
    )
    allowed = tuple(options.allow)
    accounts = tuple(replace(account, ip_allow_list=allowed) for account in config.accounts)
    try:
        wechat = SimulatedWeChat(replace(config, accounts=accounts, state_file=options.state))
    except OSError as error:
        print(f"simulator: --state cannot be used: {error}", file=sys.stderr)
        return 1
    try:
        wechat.start(options.host, options.port)
        if options.lan:
            wechat.start_phone_listener(options.lan)
    except OSError as error:
        await wechat.stop()
        print(f"simulator: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    print(_settings(wechat))
    for name in options.mistake:
        make_mistake(wechat.world, name)
    print(f"Phone page: {wechat.phone_base}/phone  (Ctrl-C stops)")
    print(f"Console: {wechat.url}/console", flush=True)
    await stopped.wait()
    await wechat.stop()
    return 0


def main(arguments: list[str]) -> int:
    """Run until interrupted. Returns the exit status."""
    return asyncio.run(_run(_arguments(arguments)))


if __name__ == "__main__":
    guard_output()
    sys.exit(main(sys.argv[1:]))
