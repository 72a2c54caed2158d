"""``python -m simulator``: the simulated WeChat on its own, for a scanpush started elsewhere."""

import argparse
import asyncio
import os
import signal
import sys
from dataclasses import replace
from urllib.parse import urlsplit

from services.errors import SettingsError
from services.logs import guard_output
from services.settings import hosts
from services.settings.outgoing import drop_key_log, trusted_authorities
from simulator.config import SimulatorConfig
from simulator.wechat import SimulatedWeChat

DESCRIPTION = """A simulated WeChat: its api, mp and open hosts on one port, and a phone page that
scans. Put the printed settings into config.yaml, start scanpush, open its page."""


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=DESCRIPTION)
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", help="address to listen at (%(default)s)"
    )
    parser.add_argument("--port", type=_port, default=8889, help="port, 0: any (%(default)s)")
    parser.add_argument(
        "--callback-url",
        type=_url,
        default="http://127.0.0.1:8888/wechat/callback",
        help="where scanpush receives callbacks (%(default)s)",
    )
    parser.add_argument(
        "--mode",
        choices=("plaintext", "compatible", "safe"),
        default="safe",
        help="how callbacks are encrypted (%(default)s)",
    )
    parser.add_argument(
        "--lan", type=_host, metavar="ADDRESS", help="serve the phone page there as well"
    )
    parser.add_argument("--seed", type=int, help="make every id repeatable")
    options = parser.parse_args(arguments)
    drop_key_log(os.environ)
    if options.callback_url.startswith("https://"):
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


def _settings(wechat: SimulatedWeChat) -> str:
    """The lines for config.yaml. The secrets are of this start only and worth nothing."""
    account = wechat.config.accounts[0]
    mini_program, website = wechat.config.mini_programs[0], wechat.config.websites[0]
    return f"""wechat:
  simulator: false
  api_base: {wechat.api_base}
  mp_base: {wechat.mp_base}
  open_base: {wechat.open_base}
  accounts:
    default:
      app_id: {account.app_id}
      app_secret: "{account.app_secret}"
      callback_token: "{account.callback_token}"
      encoding_aes_key: "{account.encoding_aes_key}"
      mode: {account.mode}
  mini_program: {{app_id: {mini_program.app_id}, app_secret: "{mini_program.app_secret}"}}
  website: {{app_id: {website.app_id}, app_secret: "{website.app_secret}"}}
"""


async def _run(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    # The mini program's pages call the server that also receives the callbacks.
    server = urlsplit(options.callback_url)
    config = SimulatorConfig.generated(
        options.callback_url, mode=options.mode, server_url=f"{server.scheme}://{server.netloc}"
    )
    # A seed repeats ids only: the secrets are new at each start.
    wechat = SimulatedWeChat(replace(config, seed=options.seed))
    try:
        wechat.start(options.host, options.port)
        if options.lan:
            wechat.start_phone_listener(options.lan)
    except OSError as error:
        await wechat.stop()
        print(f"simulator: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    print(_settings(wechat))
    print(f"Phone page: {wechat.phone_base}/phone  (Ctrl-C stops)", flush=True)
    await stopped.wait()
    await wechat.stop()
    return 0


def main(arguments: list[str]) -> int:
    """Run until interrupted. Returns the exit status."""
    return asyncio.run(_run(_arguments(arguments)))


if __name__ == "__main__":
    guard_output()
    sys.exit(main(sys.argv[1:]))
