"""The OpenAPI document, held against the running application by schemathesis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from app.serve import operations
from app.serve.openapi import document
from tests.serving import ADMIN, Served, serving_copy

# Not positive_data_acceptance: whether a provider, a credential or an address exists is no matter of form.
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
SCHEMA = schemathesis.openapi.from_dict(document(operations()))


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_copy(sqlite_template, tmp_path_factory) as running:
        yield running


@SCHEMA.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_every_operation_answers_as_its_document_says(served: Served, case: schemathesis.Case) -> None:
    case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {ADMIN}"}, checks=CHECKS, timeout=20)


def test_the_document_is_served_and_lists_every_route(served: Served) -> None:
    answer = served.ask("GET", "/openapi.json", token=None)

    listed = {(method.upper(), path) for path, methods in answer.json["paths"].items() for method in methods}
    assert answer.status == 200
    assert answer.json == document(operations())
    assert {
        ("GET", "/v1/consent/{address}"),
        ("PUT", "/v1/consent/{address}"),
        ("POST", "/v1/consent/check"),
        ("POST", "/v1/webhooks/{name}/rotate"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    } <= listed
    assert len(listed) == len(operations())
