"""The screens that the operator put up, known by name and secret.

A kiosk begins scenes of a longer life and never gets a login: its scenes bring an exchange code,
which the operator's server redeems (``/api/exchange``).
"""

import hmac
from collections.abc import Mapping

from services.errors import ApiError
from services.settings import KioskSettings


class Kiosks:
    """The configured kiosks.

    Args:
        ttl_seconds: the life of their scenes.
    """

    def __init__(self, kiosks: Mapping[str, KioskSettings], ttl_seconds: int) -> None:
        self._kiosks = kiosks
        self.ttl_seconds = ttl_seconds

    def label(self, name: str, secret: str) -> str:
        """What people call the kiosk of that name, for who shows its secret.

        Compared in constant time; an unknown kiosk is answered like a wrong secret.

        Raises:
            ApiError: ``unauthorized``.
        """
        kiosk = self._kiosks.get(name)
        expected = kiosk.secret.get_secret_value() if kiosk is not None else ""
        same = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "surrogatepass"))
        if kiosk is None or not expected or not same:
            raise ApiError("unauthorized", "Unknown kiosk, or wrong or missing secret.")
        return kiosk.label or name
