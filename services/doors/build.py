"""Which doors the settings open, and what each is made of. Called by the container alone."""

from services.clock import Clock
from services.scenes.codes import (
    MiniProgramCode,
    OfficialAccountCode,
    SceneCode,
    SceneCodes,
    TypedCode,
    WebCode,
    WebsiteCode,
)
from services.scenes.states import Kind
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.settings import Settings


def build_codes(
    settings: Settings, scenes: SceneStore, typed_codes: TypedCodes, clock: Clock
) -> SceneCodes:
    """The kinds of scenes that are offered: those whose account or app has an app_id."""
    wechat = settings.wechat
    codes: dict[Kind, SceneCode] = {}
    if any(account.app_id for account in wechat.accounts.values()):
        codes[Kind.OFFICIAL_ACCOUNT] = OfficialAccountCode(
            scenes,
            clock,
            mp_base=wechat.mp_base,
            daily_code_reserve=settings.limits.daily_code_reserve,
        )
        codes[Kind.WEB] = WebCode()
        codes[Kind.CODE] = TypedCode(typed_codes)
    if wechat.mini_program.app_id:
        codes[Kind.MINI_PROGRAM] = MiniProgramCode()
    if wechat.website.app_id:
        codes[Kind.WEBSITE] = WebsiteCode()
    return codes
