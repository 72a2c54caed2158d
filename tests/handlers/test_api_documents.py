"""``/openapi.json`` and ``/asyncapi.json`` are valid, and say what the route table says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.web import RequestHandler

from handlers.api_documents import document
from handlers.base import allowed_methods
from handlers.routes import routes
from services import VERSION
from services.errors import STATUS
from services.push.close_codes import CloseCode
from services.scenes.states import Kind, State
from tests.handlers.running import Running

BROWSER = Path(__file__).parents[1] / "browser"
SCHEMA = BROWSER / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
OPENAPI: dict[str, Any] = json.loads(document("openapi").body)
ASYNCAPI: dict[str, Any] = json.loads(document("asyncapi").body)
METHODS = {"get", "post", "put", "patch", "delete"}

# The route table asks nothing of the container but this.
CONTAINER: Any = SimpleNamespace(push=SimpleNamespace(admission=None), metrics=None)
ROUTES = [(re.compile(route[0]), route[1]) for route in routes(CONTAINER)]


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each path with its examples filled in, as it is written, and its operations."""
    for path, item in OPENAPI["paths"].items():
        example = path
        for parameter in item.get("parameters", []) + [
            one for name in METHODS & item.keys() for one in item[name].get("parameters", [])
        ]:
            if "$ref" in parameter:
                parameter = OPENAPI["components"]["parameters"][parameter["$ref"].split("/")[-1]]
            if parameter["in"] == "path":
                example = example.replace(f"{{{parameter['name']}}}", parameter["example"])
        yield example, path, {name: item[name] for name in METHODS & item.keys()}


def test_the_openapi_document_is_valid() -> None:
    """By OpenAPI 3.1's own schema, references and all, and each operationId is used once. What is
    sent to the server is described, for generators leave out an operation whose body is not."""
    # Here, and not where every process that collects tests pays a second for it.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(OPENAPI).validate()
    assert OPENAPI["info"]["version"] == VERSION and "x-shared" not in OPENAPI
    for _, path, operations in described():
        for name, operation in operations.items():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert "schema" in media, f"{name} {path}"


def test_the_asyncapi_document_is_valid() -> None:
    """By AsyncAPI 3.0's own schema, from the npm package of the AsyncAPI project."""
    import jsonschema

    if not SCHEMA.exists():
        pytest.skip("@asyncapi/specs is not installed: npm install in tests/browser")
    schema = json.loads(SCHEMA.read_bytes())
    jsonschema.Draft7Validator(schema).validate(ASYNCAPI)
    assert ASYNCAPI["info"]["version"] == VERSION


def test_every_description_is_of_a_route() -> None:
    """With the methods that it answers, but for HEAD and OPTIONS, which go without saying."""
    for example, path, operations in described():
        handlers = [handler for pattern, handler in ROUTES if pattern.fullmatch(example)]
        assert handlers, f"{path} is no route"
        handler = handlers[0]
        answered = {"get"}  # of the socket, which is no handler
        if isinstance(handler, type) and issubclass(handler, RequestHandler):
            answered = {name.lower() for name in allowed_methods(handler)} & METHODS
        assert operations.keys() == answered, path


def test_every_route_is_described() -> None:
    """A route that is added has to be described."""
    examples = [example for example, _, _ in described()]
    for pattern, _ in ROUTES:
        assert any(pattern.fullmatch(example) for example in examples), pattern.pattern


def test_every_operation_says_what_it_is_for() -> None:
    """A summary that is a sentence, a tag that is explained, and an answer that is no error."""
    tags = {tag["name"] for tag in OPENAPI["tags"]}
    for _, path, operations in described():
        for name, operation in operations.items():
            assert operation["summary"].endswith("."), (path, name)
            assert set(operation["tags"]) <= tags, (path, name)
            assert any(status < "400" for status in operation["responses"]), (path, name)


def test_names_are_those_of_the_code() -> None:
    """Error codes, states, login kinds, and the close codes of the socket."""
    schemas = OPENAPI["components"]["schemas"]
    assert schemas["ErrorCode"]["enum"] == list(STATUS)
    status = ASYNCAPI["components"]["messages"]["status"]["payload"]["properties"]
    states = {state.value for state in State}
    assert set(schemas["State"]["enum"]) == set(status["state"]["enum"]) == states
    assert set(schemas["Kind"]["enum"]) == {kind.value for kind in Kind}
    assert set(schemas["Status"]["properties"]) == set(status)
    told = set(map(int, re.findall(r"\b\d{4}\b", ASYNCAPI["info"]["description"])))
    assert told <= set(CloseCode) and {4400, 4408, 4409, 4413, 4429} <= told


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_it_is_served_to_any_origin(server: Running, name: str) -> None:
    """Coded, to be kept for an hour, and not once more to a client that has it."""
    answer = server.http.get(f"/{name}.json", headers={"Origin": "https://docs.example"})
    assert answer.status_code == 200 and answer.json()["info"]["title"] == "scanpush"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Content-Encoding"] in ("br", "gzip")
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert server.http.get(f"/{name}.json", headers=tag).status_code == 304
