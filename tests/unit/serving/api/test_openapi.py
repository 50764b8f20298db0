"""The description of the API holds: whatever it allows is answered as it says."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served_rows import as_told, bar_of
from told import ToldStore

from lakehouse.settings import Settings
from serving.api import lag
from serving.api.app import create_app
from serving.api.deadlines import HEADER
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.api.resources import RESOURCES
from serving.engines import Engine
from serving.exporter import families
from serving.exporter.families import Reading

pytestmark = pytest.mark.serving

schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture
def described(
    settings: Settings,
    sql: Engine,
    keys: ApiKeys,
    champion: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    behind = Reading(families.TABLE_LAG, ("bronze.market_trades", "market.trades"), 7)
    since = Reading(families.FRESHNESS, ("bronze.market_trades",), 1.5)
    monkeypatch.setattr(lag, "landed", lambda _: [behind, since])  # there is no log here
    live = ToldStore(settings)
    live.tell("bars_1m", [as_told(bar_of(4, 99))])
    live.tell_progress({0: 99}, age_seconds=-3600)
    api = create_app(settings, Gate(sql, at_once=2), keys, live)
    return schemathesis.openapi.from_asgi("/openapi.json", api)


@schema.exclude(path="/v1/stream").parametrize()  # it has no end
@hypothesis.settings(
    max_examples=8,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_whatever_is_described_holds(case: schemathesis.Case, everything: str) -> None:
    if case.headers.get(HEADER, "").isdigit():
        case.headers[HEADER] = "30000"  # in less, a busy machine may have no answer
    case.call_and_validate(
        headers={"Authorization": f"Bearer {everything}"},
        # Which cursors there are, and what times are known, no schema can say.
        excluded_checks=[positive_data_acceptance],
    )


def test_every_resource_is_described_from_its_contract(api: FastAPI) -> None:
    told = api.openapi()
    for resource in RESOURCES:
        operation = told["paths"][resource.path]["get"]
        assert operation["security"] == [{"API key": []}]
        named = {parameter["name"] for parameter in operation["parameters"]}
        assert {*resource.filters, "as_of", "limit", "cursor", "X-Deadline-Ms"} <= named
        assert ("tier" in named) == resource.sample.is_merged
        row = told["components"]["schemas"][f"{resource.name}_row"]["properties"]
        assert list(row) == [column.name for column in resource.sample.columns]
        assert all(row[column.name]["description"] for column in resource.sample.columns)
    assert told["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"


def test_all_that_is_asked_and_answered_has_an_example(api: FastAPI) -> None:
    told = api.openapi()
    parameters = {
        f"{path} {parameter['name']}": parameter["schema"]
        for path, operations in told["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    }
    columns = {
        f"{name} {column}": schema
        for name, model in told["components"]["schemas"].items()
        if name.endswith("_row")
        for column, schema in model["properties"].items()
    }
    assert len(columns) > len(RESOURCES)
    without = [name for name, said in (parameters | columns).items() if not examples_of(said)]
    assert without == []


def test_what_may_become_of_a_body_is_described(api: FastAPI) -> None:
    operations = [one for told in api.openapi()["paths"].values() for one in told.values()]
    with_bodies = [told["responses"].keys() for told in operations if "requestBody" in told]
    assert with_bodies
    assert all(told >= {"408", "413", "422"} for told in with_bodies)


def examples_of(schema: dict[str, Any]) -> list[Any]:
    """The examples of a value, or of what it is where it may be null."""
    either = [schema, *schema.get("anyOf", ())]
    return [one for kind in either for one in kind.get("examples", ()) if one is not None]
