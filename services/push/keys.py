"""A scene's id in sixteen bytes: what the hub keeps instead of a 36-character string."""

from services.ids import SceneStr


def scene_key(scene_str: SceneStr) -> bytes:
    """The sixteen bytes of a UUID written with hyphens. Raises `ValueError` on anything else."""
    key = bytes.fromhex(scene_str.replace("-", ""))
    if len(key) != 16:
        raise ValueError("a scene_str is a UUID")
    return key


def scene_str_of(key: bytes) -> SceneStr:
    """The other way round: lower case, with hyphens."""
    digits = key.hex()
    return SceneStr(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
