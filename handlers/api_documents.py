"""``/openapi.json`` and ``/asyncapi.json``: what this server answers, and what its socket carries.

Their sources, openapi.yaml and asyncapi.yaml beside this module, are written by hand and held to
the route table and to the answers by tests. Read when first asked for: most servers never are.
"""

import asyncio
import functools
import json
from pathlib import Path

import yaml

from handlers.assets import Asset
from handlers.base import PublicHandler
from handlers.http_messages import JSON
from handlers.pages import AssetHandler
from services import VERSION

_HERE = Path(__file__).resolve().parent

MAX_AGE_SECONDS = 3600


@functools.cache
def document(name: str) -> Asset:
    """A document as it is sent."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    source = (_HERE / f"{name}.yaml").read_text("utf-8")
    tree = yaml.load(source, loader)  # nosec B506  # a safe loader
    tree.pop("x-shared", None)
    tree["info"]["version"] = VERSION
    body = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    return Asset(body.encode(), JSON)


class DocumentHandler(PublicHandler, AssetHandler):
    """``GET /openapi.json`` and ``GET /asyncapi.json``, for any origin."""

    async def get(self, name: str) -> None:
        # In a thread: the first time takes some 60 ms.
        asset = await asyncio.to_thread(document, name)
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE_SECONDS}")
        self.set_header("Vary", "Accept-Encoding")
        await self.send(asset)
