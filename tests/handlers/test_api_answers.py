"""What is answered is what ``/openapi.json`` says: schemathesis makes requests of every operation,
valid ones and others, with and without credentials, and checks each answer.

``scripts/test --all`` makes more of them.
"""

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import UnexpectedLogs
from tests.flows.test_sessions import logged_in
from tests.handlers import openid
from tests.handlers.running import Running
from tests.handlers.test_api_documents import OPENAPI

OPERATOR_TOKEN = "a-token-for-the-operator"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All parts of a server: every login kind, sessions, clients, a screen and an operator."""
    folder = tmp_path_factory.mktemp("server")
    sections: dict[str, Any] = {
        "operator": {"token": OPERATOR_TOKEN},
        "kiosks": {"hall": {"secret": "a-secret-of-the-hall", "label": "Hall"}},
    }
    running = Running(lambda: openid.stack(folder, **sections))
    yield running
    running.close()


class Credentials:
    """What each security scheme takes, for each operation that is tried of another person: the one
    before may be banned by now."""

    def __init__(self, server: Running, person: str) -> None:
        page = server.begin()
        login = server.do(logged_in(server.stack, person))
        basic = base64.b64encode(f"grafana:{openid.SECRET}".encode()).decode()
        self._scene_str, self._user_id = page.scene_str, login["user"]["id"]
        self._shown = {
            "watchToken": page.bearer["Authorization"],
            "loginToken": f"Bearer {login['token']}",
            "operatorToken": f"Bearer {OPERATOR_TOKEN}",
            "kioskSecret": "Bearer a-secret-of-the-hall",
            "clientBasic": f"Basic {basic}",
        }

    def show(self, case: Any) -> None:
        """Put into the request what its operation asks for."""
        for scheme in case.operation.definition.raw.get("security", []):
            for name in scheme:
                if name in self._shown:
                    case.headers["Authorization"] = self._shown[name]
        if "scene_str" in case.path_parameters:
            case.path_parameters["scene_str"] = self._scene_str
        if case.operation.path.startswith("/api/operator/users/"):
            case.path_parameters["id"] = self._user_id


def try_all(server: Running, examples: int) -> None:
    """That many requests of every operation, some of which fit their schemas."""
    # Here, and not where every process that collects tests pays seconds for them.
    import requests
    import schemathesis
    from schemathesis import GenerationMode, checks
    from schemathesis.specs.openapi import checks as openapi_checks

    asked: list[Any] = [
        checks.not_a_server_error,
        openapi_checks.status_code_conformance,
        openapi_checks.content_type_conformance,
        openapi_checks.response_headers_conformance,
        openapi_checks.response_schema_conformance,
    ]
    operations = schemathesis.openapi.from_dict(OPENAPI).get_all_operations()
    base_url = f"http://127.0.0.1:{server.stack.port}"
    with contextlib.closing(requests.Session()) as session:
        for operation in [result.ok() for result in operations]:
            credentials = Credentials(server, f"{operation.label} {examples}")

            @settings(
                max_examples=examples,
                phases=[Phase.generate],
                database=None,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            @given(data=st.data())
            def tried(data: st.DataObject) -> None:
                mode = data.draw(st.sampled_from(list(GenerationMode)))
                case = data.draw(operation.as_strategy(generation_mode=mode))
                if data.draw(st.booleans()):
                    credentials.show(case)
                if "wait" in case.query:
                    case.query["wait"] = 0
                answer = case.call(
                    base_url=base_url, session=session, allow_redirects=False, timeout=10
                )
                case.validate_response(answer, checks=asked)

            tried()


@pytest.mark.timeout(300)
def test_answers_are_those_of_the_document(server: Running, logs: UnexpectedLogs) -> None:
    """No failure of the server, and every answer with a status, a type and a form that the
    document has for it."""
    logs.expect("scanpush.oidc WARNING")  # of clients that do not exist, or ask for too little
    try_all(server, 2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_more_answers_are_those_of_the_document(server: Running, logs: UnexpectedLogs) -> None:
    """The same, with 50 requests of every operation."""
    logs.expect("scanpush.oidc WARNING")  # of clients that do not exist, or ask for too little
    try_all(server, 50)
