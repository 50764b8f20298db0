from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException

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


def without(column: str, *, stated: bool = False) -> TableContract:
    table = contract(NAME)
    columns = tuple(c for c in table.columns if c.name != column)
    return replace(table, columns=columns, dropped=(column,) if stated else ())


DAYS = Partitioning("event_time", parse_transform("day", parse_type("timestamptz", "timestamp")))
MONTHS = replace(DAYS, transform=parse_transform("month", parse_type("timestamptz", "timestamp")))
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
    "other sort order": (replace(contract(NAME), sort_order=("symbol",)), "sortOrder"),
    "dropped required column, stated": (without("state", stated=True), "state"),
    "dropped key column, stated": (
        replace(without("symbol", stated=True), key=("venue", "trade_id"), sort_order=()),
        "symbol",
    ),
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


def test_a_column_keeps_its_number_under_another_name_and_another_type(catalog: Catalog) -> None:
    apply(catalog, [with_column(optional("lots", "int"))])
    before = catalog.load_table(NAME).schema()
    counted = replace(
        optional("lots", "int"),
        name="contracts",
        type=parse_type("long", "integer"),
        aliases=("lots",),
    )
    columns = tuple(
        replace(c, name="ticker", aliases=("symbol",)) if c.name == "symbol" else c
        for c in contract(NAME).columns
    )
    new = replace(
        contract(NAME),
        columns=(*columns, counted),
        key=("venue", "ticker", "trade_id"),
        sort_order=("venue", "ticker", "event_time", "trade_id"),
    )
    (done,) = apply(catalog, [new])
    assert set(done.changes) == {
        "renamed lots to contracts",
        "widened contracts to long",
        "renamed symbol to ticker",
    }
    after = catalog.load_table(NAME).schema()
    assert after.find_field("contracts").field_id == before.find_field("lots").field_id
    assert after.find_field("ticker").field_id == before.find_field("symbol").field_id
    assert str(after.find_type("contracts")) == "long"
    assert after.identifier_field_names() == {"venue", "ticker", "trade_id"}
    assert apply(catalog, [new])[0].outcome is Outcome.UNCHANGED


def test_a_dropped_column_is_gone_once_the_contract_says_so(catalog: Catalog) -> None:
    apply(catalog, [contract(NAME)])
    (done,) = apply(catalog, [without("contract_size", stated=True)])
    assert done.changes == ("dropped contract_size",)
    assert "contract_size" not in catalog.load_table(NAME).schema().column_names
    assert apply(catalog, [without("contract_size", stated=True)])[0].changes == ()


def test_partitioning_changes_for_new_rows_and_changes_back(catalog: Catalog) -> None:
    hours = contract(NAME)
    apply(catalog, [hours])
    for partitioning, name in (((DAYS,), "event_time_day"), ((MONTHS,), "event_time_month")):
        (done,) = apply(catalog, [replace(hours, partitioning=partitioning)])
        assert done.changes == (f"partitioned by {partitioning[0]} from now on",)
        assert [part.name for part in catalog.load_table(NAME).spec().fields] == [name]
        assert preview(catalog, [replace(hours, partitioning=partitioning)])[0].changes == ()
    apply(catalog, [hours])
    table = catalog.load_table(NAME)
    assert table.spec().spec_id == 0, "the first partitioning goes on as what it was"
    assert sorted(table.specs()) == [0, 1, 2]
    (done,) = apply(catalog, [replace(hours, partitioning=())])
    assert done.changes == ("partitioned by nothing from now on",)
    assert not catalog.load_table(NAME).spec().fields


def test_two_partitionings_of_one_kind_have_names_of_their_own(catalog: Catalog) -> None:
    def by_venue(width: int) -> TableContract:
        transform = parse_transform(f"truncate[{width}]", parse_type("string", "string"))
        return replace(contract(NAME), partitioning=(Partitioning("venue", transform),))

    apply(catalog, [by_venue(4)])
    apply(catalog, [by_venue(8)])
    (part,) = catalog.load_table(NAME).spec().fields
    assert (str(part.transform), part.name) == ("truncate[8]", "venue_truncate_1")


def test_another_writer_who_is_faster_is_waited_for(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(catalog, [contract(NAME)])
    commit, overtaken = type(catalog).commit_table, []

    def overtaken_once(self: Catalog, *of: Any) -> Any:
        if not overtaken:
            overtaken.append(of)
            raise CommitFailedException("somebody was faster")
        return commit(self, *of)

    monkeypatch.setattr(type(catalog), "commit_table", overtaken_once)
    apply(catalog, [with_column(optional("fee"))])
    assert "fee" in catalog.load_table(NAME).schema().column_names
    assert overtaken


def test_a_map_of_other_parts_is_refused(catalog: Catalog) -> None:
    table = contract("bronze.market_trades")
    apply(catalog, [table])
    texts = parse_type("map<string, string>", "map")
    columns = tuple(replace(c, type=texts) if c.name == "headers" else c for c in table.columns)
    with pytest.raises(IncompatibleChangeError, match="headers"):
        apply(catalog, [replace(table, columns=columns)])
