"""A column is followed to its topic by what the contracts state."""

import json
from collections.abc import Iterator

import pytest
from schema_drafts import Draft
from typer.testing import CliRunner

from schemas import contracts
from schemas.cli import app
from schemas.lineage import Kind, Place, UnknownColumnError, column_place, upstream

RUN = CliRunner()


def origins(place: Place) -> Iterator[Place]:
    """Where a column's data come from: what nothing is upstream of."""
    sources = upstream(place)
    if not sources:
        yield place
    for source in sources:
        yield from origins(source)


def followed(column: str) -> set[str]:
    return {str(place) for place in origins(column_place(column))}


def test_an_average_price_follows_from_the_fields_of_its_topic() -> None:
    fields = {"price", "quantity", "contract_size"}
    expected = {f"topic market.trades.value.{name}" for name in fields}
    assert followed("gold.bars_1m.vwap") == expected
    assert followed("gold.market_daily.vwap") == expected


def test_the_speed_layer_reads_the_log_and_not_bronze() -> None:
    (source,) = upstream(column_place("gold.bars_1m_rt.close"))
    assert source == Place(Kind.TABLE, "silver.trades_rt", "price")
    assert upstream(source) == (Place(Kind.TOPIC, "market.trades", "value.price"),)


def test_a_column_of_files_follows_from_their_column() -> None:
    assert followed("gold.eod_bars.close") == {"files eod_bars.close"}


def test_a_position_in_the_log_follows_from_the_message() -> None:
    (source,) = upstream(column_place("bronze.crm_customers.event_time"))
    assert str(source) == "topic crm.customers.value.ts_us"
    assert followed("silver.trades.log_partition") == {"topic market.trades.partition"}


@pytest.mark.parametrize("layer", ["silver", "gold"])
def test_every_column_comes_from_a_topic_or_from_files(layer: str) -> None:
    # Bronze makes these itself, and the registry of models.
    made_here = {"topic_generation", "ingested_at", "file_name", "checksum"}
    made_here |= {"model", "version", "input_snapshot_id"}
    for table in contracts().values():
        for column in table.columns if table.namespace == layer else ():
            for place in origins(Place(Kind.TABLE, table.name, column.name)):
                assert place.kind is not Kind.TABLE or place.name in made_here, place


def test_the_verb_draws_a_tree_and_prints_json() -> None:
    drawn = RUN.invoke(app, ["lineage", "gold.bars_1m.close"])
    assert [line.strip("│├└─ ") for line in drawn.stdout.splitlines()] == [
        "gold.bars_1m.close",
        "silver.trades.price",
        "bronze.market_trades.payload.price",
        "topic market.trades.value.price",
    ]
    told = json.loads(RUN.invoke(app, ["lineage", "silver.fills.fee", "--json"]).stdout)
    (bronze,) = told["made_of"]
    assert bronze["made_of"] == [
        {"kind": "topic", "of": "oms.fills", "name": "value.fee", "made_of": []}
    ]


@pytest.mark.parametrize("name", ["gold.bars_1m.price", "gold.bars.close", "close", ""])
def test_a_column_that_no_contract_states_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnknownColumnError, match=f"^{name}: "):
        column_place(name)


def test_a_carried_column_follows_from_its_name(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft.add("silver.trades", "fee_bps", "long", carried=True)
    draft.add("gold.bars_1m", "fee_bps", "decimal(38,0)", carried=True)
    draft.deploy(monkeypatch)
    assert followed("gold.bars_1m.fee_bps") == {"topic market.trades.value.fee_bps"}


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ([], "do not state what it is made of"),
        (["silver.trades.value"], "no contract states silver.trades.value"),
        (["silver.ticks.price"], "no contract states silver.ticks.price"),
        (["price"], "no contract states price"),
        (
            ["bronze.market_trades.payload.cost"],
            "no contract states bronze.market_trades.payload.cost",
        ),
        (
            ["bronze.crm_customers.payload.after.age"],
            "no contract states bronze.crm_customers.payload.after.age",
        ),
        (
            ["bronze.files_eod_bars.row_json.bid"],
            "no contract states bronze.files_eod_bars.row_json.bid",
        ),
    ],
)
def test_sources_that_there_are_not_are_refused(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, sources: list[str], problem: str
) -> None:
    draft.change("gold.bars_1m", "vwap", transformSourceObjects=sources)
    draft.deploy(monkeypatch)
    checked = RUN.invoke(app, ["schemas", "check"])
    assert checked.exit_code == 1
    assert "gold.bars_1m.vwap: transformSourceObjects" in str(checked.exception)
    assert problem in str(checked.exception)
