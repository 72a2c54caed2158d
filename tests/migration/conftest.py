"""A server that speaks MongoDB's protocol, for all tests of the copy."""

from tests.contracts.conftest import mongo_url

__all__ = ["mongo_url"]
