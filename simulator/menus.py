"""The menu of an account: what may be in it, and the one that is published.

Facts: WeChat's pages "Creating a custom menu", "Querying" and "Deleting" it. A published menu is
shown as it was given; personalised menus (``menu/addconditional``) are not simulated.
"""

from collections.abc import Mapping
from typing import Any

from simulator.refusals import Refusal
from simulator.state import State

MAX_BUTTONS = 3
MAX_SUB_BUTTONS = 5
MAX_KEY_BYTES = 128
MAX_URL_BYTES = 1_024

NEEDED: Mapping[str, tuple[str, ...]] = {
    "click": ("key",),
    "scancode_push": ("key",),
    "scancode_waitmsg": ("key",),
    "pic_sysphoto": ("key",),
    "pic_photo_or_album": ("key",),
    "pic_weixin": ("key",),
    "location_select": ("key",),
    "view": ("url",),
    "miniprogram": ("url", "appid", "pagepath"),
    "media_id": ("media_id",),
    "view_limited": ("media_id",),
    "article_id": ("article_id",),
    "article_view_limited": ("article_id",),
}
"""The types of buttons, and what each has to have."""


class Menus:
    """The published menu of each account."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._menus = state.documents("menus")

    def create(self, app_id: str, menu: Mapping[str, Any]) -> None:
        """Publish a menu in place of the one before.

        Raises:
            Refusal: 40016 to 40027, for what is wrong with a button.
        """
        buttons = [_button(button, sub=False) for button in _buttons(menu.get("button"), sub=False)]
        self._menus[app_id] = {"button": buttons}
        self._state.put("menus", app_id, self._menus[app_id])

    def get(self, app_id: str) -> dict[str, Any]:
        """The menu as ``menu/get`` gives it.

        Raises:
            Refusal: 46003: there is none.
        """
        menu = self._menus.get(app_id)
        if menu is None:
            raise Refusal(46003)
        return menu

    def shown(self, app_id: str) -> dict[str, Any]:
        """The menu as ``get_current_selfmenu_info`` gives it: sub-buttons in a ``list``."""
        menu = self._menus.get(app_id)
        if menu is None:
            return {"is_menu_open": 0, "selfmenu_info": {"button": []}}
        buttons = []
        for button in menu["button"]:
            plain = {key: value for key, value in button.items() if key != "sub_button"}
            if subs := button.get("sub_button"):
                plain["sub_button"] = {"list": subs}
            buttons.append(plain)
        return {"is_menu_open": 1, "selfmenu_info": {"button": buttons}}

    def delete(self, app_id: str) -> None:
        """Without a menu nothing happens."""
        self._menus.pop(app_id, None)
        self._state.drop("menus", app_id)


def _buttons(buttons: object, sub: bool) -> list[Any]:
    most = MAX_SUB_BUTTONS if sub else MAX_BUTTONS
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= most:
        raise Refusal(40023 if sub else 40016)
    return buttons


def _button(button: object, sub: bool) -> dict[str, Any]:
    """One button with its sub-buttons, checked. Each errcode has a twin for sub-buttons."""
    if not isinstance(button, dict):
        raise Refusal(40024 if sub else 40017)
    name = button.get("name")
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "replace")) <= 60:
        raise Refusal(40025 if sub else 40018)
    if button.get("sub_button") and not sub:
        inner = _buttons(button["sub_button"], sub=True)
        return {"name": name, "sub_button": [_button(one, sub=True) for one in inner]}
    kind = button.get("type")
    needed = NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None:
        raise Refusal(40024 if sub else 40017)
    for field in needed:
        value = button.get(field)
        most = MAX_URL_BYTES if field == "url" else MAX_KEY_BYTES
        if not isinstance(value, str) or not 1 <= len(value.encode("utf-8", "replace")) <= most:
            errcodes = (40020, 40027) if field == "url" else (40019, 40026)
            raise Refusal(errcodes[sub])
    return {
        "type": kind,
        "name": name,
        **{field: button[field] for field in needed},
        "sub_button": [],
    }
