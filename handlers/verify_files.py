"""The files by which WeChat's console checks that a domain is ours (``MP_verify_....txt``)."""

from handlers.base import BaseHandler
from services.errors import ApiError


class VerifyFileHandler(BaseHandler):
    """``GET /<name>.txt`` for the names in ``wechat.verify_files``; no file is read from disk."""

    def get(self, name: str) -> None:
        content = self.container.settings.wechat.verify_files.get(name)
        if content is None:
            raise ApiError("not_found", "There is nothing here.")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(content)
