from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from schemas import Column, TableContract, contract, contracts
from schemas.contract import Partitioning
from schemas.tables import IncompatibleChangeError, Outcome, apply, preview
from schemas.types import parse_transform, parse_type

NAME = "silver.trades"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())


def optional(name: str, kind: str = "string") -> Column:
    logical = {"string": "string", "int": "integer"}[kind]
    return Column(name, parse_type(kind, logical), False, "New.", None, "public", False)


def changed(column: str, **change: Any) -> TableContract:
    table = contract(NAME)
    columns = tuple(replace(c, **change) if c.name == column else c for c in table.columns)
    return replace(table, columns=columns)


def with_column(column: Column, table: TableContract | None = None) -> TableContract:
    table = table or contract(NAME)
    return replace(table, columns=(*table.columns, column))


def test_all_tables_are_made_as_their_contracts_say(catalog: Catalog) -> None:
    done = apply(catalog)
    assert {one.table: one.outcome for one in done} == dict.fromkeys(contracts(), Outcome.CREATED)
    for stated in contracts().values():
        table = catalog.load_table(stated.name)
        assert table.schema() == stated.iceberg_schema()
        assert [field.name for field in table.spec().fields] == [
            part.name for part in stated.partitioning
        ]
        assert len(table.sort_order().fields) == len(stated.sort_order)
        assert table.metadata.format_version == 2
        assert table.properties["write.parquet.compression-codec"] == "zstd"


def test_a_second_run_changes_nothing(catalog: Catalog) -> None:
    apply(catalog)
    before = {name: catalog.load_table(name).metadata_location for name in contracts()}
    assert {one.outcome for one in apply(catalog)} == {Outcome.UNCHANGED}
    assert before == {name: catalog.load_table(name).metadata_location for name in contracts()}


def test_a_preview_makes_nothing(catalog: Catalog) -> None:
    assert {one.outcome for one in preview(catalog)} == {Outcome.CREATED}
    assert not catalog.list_namespaces()


def test_new_optional_columns_wider_numbers_and_words_are_applied(catalog: Catalog) -> None:
    old = with_column(optional("lots", "int"))
    apply(catalog, [old])
    wide = {
        "lots": {"type": parse_type("long", "integer"), "description": "Both at once."},
        "price": {"type": parse_type("decimal(20,8)", "number")},
        "venue": {"description": "Another sentence."},
    }
    columns = tuple(replace(c, **wide.get(c.name, {})) for c in old.columns)
    new = with_column(optional("fee"), replace(old, columns=columns))
    new = replace(new, properties={**new.properties, "write.metadata.previous-versions-max": "9"})
    (done,) = apply(catalog, [new])
    assert done.outcome is Outcome.EVOLVED
    assert set(done.changes) == {
        "added fee string",
        "widened price to decimal(20, 8)",
        "widened lots to long",
        "described lots",
        "described venue",
        "set write.metadata.previous-versions-max=9",
    }
    table = catalog.load_table(NAME)
    assert str(table.schema().find_type("price")) == "decimal(20, 8)"
    assert str(table.schema().find_type("lots")) == "long"
    assert not table.schema().find_field("fee").required
    assert table.schema().find_field("venue").doc == "Another sentence."
    assert table.properties["write.metadata.previous-versions-max"] == "9"
    assert apply(catalog, [new])[0].outcome is Outcome.UNCHANGED


def without(column: str) -> TableContract:
    table = contract(NAME)
    return replace(table, columns=tuple(c for c in table.columns if c.name != column))


DAYS = Partitioning("event_time", parse_transform("day", parse_type("timestamptz", "timestamp")))
REFUSED: dict[str, tuple[TableContract, str]] = {
    "dropped required column": (without("state"), "state"),
    "dropped optional column": (without("price"), "price"),
    "new required column": (with_column(replace(optional("fee"), required=True)), "fee"),
    "narrower integer": (changed("trade_id", type=parse_type("int", "integer")), "trade_id"),
    "narrower decimal": (changed("price", type=parse_type("decimal(17,8)", "number")), "price"),
    "other scale": (changed("price", type=parse_type("decimal(20,9)", "number")), "price"),
    "other type": (changed("price", type=parse_type("string", "string")), "price"),
    "optional becomes required": (changed("price", required=True), "price"),
    "required becomes optional": (changed("state", required=False), "state"),
    "other partitioning": (replace(contract(NAME), partitioning=(DAYS,)), "partitioning"),
    "other sort order": (replace(contract(NAME), sort_order=("symbol",)), "sortOrder"),
    "other key": (replace(contract(NAME), key=("venue", "trade_id")), "primaryKey"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_any_other_change_is_refused_and_nothing_is_touched(catalog: Catalog, name: str) -> None:
    apply(catalog, [contract(NAME)])
    before = catalog.load_table(NAME).metadata_location
    wanted, field = REFUSED[name]
    with pytest.raises(IncompatibleChangeError) as refusal:
        apply(catalog, [contract("ops.runs"), wanted])
    assert (refusal.value.table, refusal.value.field) == (NAME, field)
    assert catalog.load_table(NAME).metadata_location == before
    assert not catalog.table_exists("ops.runs")


def test_a_map_of_other_parts_is_refused(catalog: Catalog) -> None:
    table = contract("bronze.market_trades")
    apply(catalog, [table])
    texts = parse_type("map<string, string>", "map")
    columns = tuple(replace(c, type=texts) if c.name == "headers" else c for c in table.columns)
    with pytest.raises(IncompatibleChangeError, match="headers"):
        apply(catalog, [replace(table, columns=columns)])
