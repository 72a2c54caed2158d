"""The console of the simulated WeChat: what a person sets on 微信开发者平台 for an account or app.

Field names are those of the real console, in both languages. As there, the server address is kept
only where it answers the check.
"""

from dataclasses import replace
from typing import Any, cast

from services.wechat.crypto import CryptoError
from simulator.config import Mode, SimulatedAccount, Template
from simulator.hosts.pages import PageHandler, refuse_public_names
from simulator.refusals import Refusal

OPEN_PLATFORM = "simulated"


class ConsoleHandler(PageHandler):
    """``GET /console``: all accounts and apps; ``POST`` changes one part of one of them."""

    def prepare(self) -> None:
        refuse_public_names(self)
        super().prepare()

    def get(self) -> None:
        self._show("")

    async def post(self) -> None:
        try:
            said = await self._change(
                self.get_body_argument("app_id", ""), self.get_body_argument("part", "")
            )
        except (ValueError, CryptoError) as error:
            self.set_status(400)
            self._show(f"未保存 · Not saved: {error}", saved=False)
        else:
            self._show(said)

    def _show(self, said: str, saved: bool = True) -> None:
        world = self.world
        self.show(
            "console.html",
            said=said,
            saved=saved,
            accounts=list(world.accounts.values()),
            apps=[*world.mini_program_apps.values(), *world.websites.values()],
            skew=round(world.clock.skew),
        )

    async def _change(self, app_id: str, part: str) -> str:
        given = {name: self.get_body_argument(name).strip() for name in self.request.body_arguments}
        if part == "server":
            return await self._change_server(app_id, given)
        if part == "unfreeze":
            self.world.faults.clear()
            return "已解冻 · Unfrozen"
        if part == "clock":
            self.world.clock.skew = 0.0
            return "时钟已校准 · The clock is right"
        if part == "quota":
            try:
                self.world.quotas.clear(app_id)
            except Refusal as refusal:
                raise ValueError(f"errcode {refusal.errcode}") from None
            return "已清零 · Cleared"
        bound = {"open_platform": OPEN_PLATFORM if given.get("bound") else ""}
        values: dict[str, Any] = {"app_secret": given["app_secret"], **bound}
        if app_id in self.world.accounts:
            values["ip_allow_list"] = tuple(given["ip_allow_list"].split())
            values["kind"] = "service" if given.get("service") else "subscription"
            values["verified"] = bool(given.get("verified"))
            values["templates"] = tuple(
                Template(template_id, tuple(keys))
                for template_id, *keys in map(str.split, given["templates"].splitlines())
            )
        self.world.change(app_id, **values)
        return "已保存 · Saved"

    async def _change_server(self, app_id: str, given: dict[str, str]) -> str:
        account = self.world.accounts.get(app_id)
        if account is None:
            raise ValueError("unknown app_id")
        wanted: SimulatedAccount = replace(
            account,
            callback_url=given["callback_url"],
            callback_token=given["callback_token"],
            encoding_aes_key=given["encoding_aes_key"],
            mode=cast(Mode, given["mode"]),
            data_format="json" if given.get("data_format") == "json" else "xml",
        )
        if wanted.mode not in ("safe", "compatible", "plaintext"):
            raise ValueError("unknown mode")
        if not await self.world.pusher.check(wanted):
            raise ValueError("token校验失败 · the server address did not answer the check")
        self.world.change(
            app_id,
            callback_url=wanted.callback_url,
            callback_token=wanted.callback_token,
            encoding_aes_key=wanted.encoding_aes_key,
            mode=wanted.mode,
            data_format=wanted.data_format,
        )
        return "已保存 · Saved"
