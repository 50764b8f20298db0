import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import ContractError, SchemaVersion, Topic
from schemas.compatibility import backward_problems
from schemas.registry import (
    ContractRegistry,
    IncompatibleSchemaError,
    UnknownSchemaError,
    register,
)

V1: dict[str, Any] = json.loads(ContractRegistry().schema_for(1))
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in schema["fields"]}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    schema = copy.deepcopy(V1)
    change(schema)
    return schema


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["fields"].append({"name": "fee", "type": ["null", "long"], "default": None}),
        lambda s: s["fields"].append({"name": "lots", "type": "long", "default": 1}),
        lambda s: s["fields"].remove(fields(s)["received_at"]),
        lambda s: s["fields"].remove(fields(s)["venue"]),
        lambda s: s["fields"].reverse(),
        lambda s: fields(s)["venue"].update(type=["null", "string"]),
        lambda s: fields(s)["venue"].update(type="bytes"),
        lambda s: fields(s)["trade_id"].update(type="double"),
        lambda s: fields(s)["aggressor_side"].update(type=["string", "null"]),
        lambda s: fields(s)["venue"].update(doc="Other words."),
        lambda s: fields(s)["venue"].update(name="exchange", aliases=["venue"]),
        lambda s: fields(s)["venue"].update(name="exchange", aliases=["market", "venue"]),
    ],
)
def test_changes_that_read_old_data(change: Callable[[dict[str, Any]], object]) -> None:
    assert backward_problems(V1, changed(change)) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: s["fields"].append({"name": "fee", "type": "long"}), "fee"),
        (lambda s: fields(s)["venue"].update(name="exchange"), "exchange"),
        (lambda s: fields(s)["trade_id"].update(type="int"), "trade_id"),
        (lambda s: fields(s)["trade_id"].update(type="string"), "trade_id"),
        (lambda s: fields(s)["event_time"].update(type="long"), "event_time"),
        (
            lambda s: fields(s)["event_time"]["type"].update(logicalType="timestamp-millis"),
            "event_time",
        ),
        (lambda s: fields(s)["price"]["type"][1].update(scale=9), "price"),
        (lambda s: fields(s)["price"]["type"][1].update(precision=20), "price"),
        (lambda s: fields(s)["price"].update(type=fields(s)["price"]["type"][1]), "price"),
        (lambda s: fields(s)["venue"].update(type={"type": "array", "items": "string"}), "venue"),
        (
            lambda s: (
                fields(s)["price"].update(aliases=["quantity"]),
                s["fields"].remove(fields(s)["quantity"]),
            ),
            "price",
        ),
        (lambda s: s.update(name="Trade"), "record"),
        (lambda s: s.update(namespace="bank"), "record"),
    ],
)
def test_changes_that_do_not_are_named(
    change: Callable[[dict[str, Any]], object], field: str
) -> None:
    (problem,) = backward_problems(V1, changed(change))
    assert problem.startswith(f"{field}: ")


def test_a_renamed_field_is_compared_with_what_it_was() -> None:
    narrow = changed(
        lambda s: fields(s)["trade_id"].update(name="id", type="int", aliases=["trade_id"])
    )
    (problem,) = backward_problems(V1, narrow)
    assert problem == "id: long cannot become int"


def test_an_alias_is_never_given_up() -> None:
    once = changed(lambda s: fields(s)["venue"].update(name="market", aliases=["venue"]))
    twice = copy.deepcopy(once)
    fields(twice)["market"].update(name="exchange", aliases=["market", "venue"])
    assert backward_problems(once, twice) == backward_problems(V1, twice) == []
    fields(twice)["exchange"]["aliases"] = ["market"]
    assert backward_problems(once, twice) == ["exchange: the alias venue is missing"]


def test_a_floating_point_number_may_be_wider() -> None:
    old, new = (
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", kind]}]}
        for kind in ("float", "double")
    )
    assert backward_problems(old, new) == []
    assert [problem.partition(":")[0] for problem in backward_problems(new, old)] == ["x"]


def test_nested_fields_are_named_by_path() -> None:
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "long"}]}
    narrow = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "int"}]}
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "inner", "type": inner}]}
    other = {"type": "record", "name": "Outer", "fields": [{"name": "inner", "type": narrow}]}
    assert backward_problems(other, outer) == []
    (problem,) = backward_problems(outer, other)
    assert problem.startswith("inner.n: ")


def folder_of(tmp_path: Path, *versions: dict[str, Any]) -> Topic:
    stated = []
    for number, version in enumerate(versions, start=1):
        (tmp_path / f"v{number}.avsc").write_text(json.dumps(version))
        stated.append(SchemaVersion(number, f"v{number}.avsc"))
    return Topic("market.trades", None, "market.trades-value", tuple(stated))


def test_ids_are_those_of_the_contracts() -> None:
    registry = ContractRegistry()
    assert registry.id_for("market.trades-value", registry.schema_for(1)) == 1
    assert registry.register("market.trades-value", json.dumps(V1)) == 1
    assert registry.compatibility_problems() == []


def test_an_incompatible_version_is_registered_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = changed(lambda s: fields(s)["trade_id"].update(type="int"))
    topic = folder_of(tmp_path, V1, narrow)
    registry = ContractRegistry([topic], tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(registry, "register", lambda subject, _: asked.append(subject))
    with pytest.raises(IncompatibleSchemaError, match="id 2 cannot read id 1: trade_id"):
        register(registry, registry)
    assert asked == []


def test_what_is_not_listed_is_unknown() -> None:
    registry = ContractRegistry()
    with pytest.raises(UnknownSchemaError, match="77"):
        registry.schema_for(77)
    with pytest.raises(UnknownSchemaError, match="other-value"):
        registry.id_for("other-value", json.dumps(V1))
    with pytest.raises(UnknownSchemaError, match="add its file"):
        registry.register("market.trades-value", json.dumps({**V1, "name": "Trade"}))


def test_a_version_is_held_against_all_earlier_ones(tmp_path: Path) -> None:
    dropped = changed(lambda s: s["fields"].remove(fields(s)["trade_id"]))
    again = changed(lambda s: fields(s)["trade_id"].update(type="string", default=""))
    topic = folder_of(tmp_path, V1, dropped, again)
    (problem,) = ContractRegistry([topic], tmp_path).compatibility_problems()
    assert problem.startswith("market.trades-value: id 3 cannot read id 1: trade_id: ")


@pytest.mark.parametrize("text", ["{", '{"type": "record"}', '"string"', '{"type": "colour"}'])
def test_a_file_that_is_no_record_schema_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "v1.avsc").write_text(text)
    topic = Topic("t", None, "t-value", (SchemaVersion(1, "v1.avsc"),))
    with pytest.raises(ContractError, match=r"v1\.avsc"):
        ContractRegistry([topic], tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    topic = Topic("t", None, "t-value", (SchemaVersion(1, "none.avsc"),))
    with pytest.raises(ContractError, match=r"none\.avsc"):
        ContractRegistry([topic], tmp_path)
