from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.kafka import DEAD_LETTERS_TOPIC, EVENT_TOPICS
from schemas import ContractError, contract, contracts, file_datasets, landed_topics, load, topics
from schemas.parsing import parse

CONTRACTS = files("schemas") / "contracts"


def document(table: str = "silver.trades") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONTRACTS / f"{table}.yaml").read_text())
    return loaded


def column(doc: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in doc["schema"][0]["properties"] if p["name"] == name)
    return found


def custom(doc: dict[str, Any], name: str) -> dict[str, Any]:
    properties = doc["schema"][0]["customProperties"]
    found: dict[str, Any] = next(p for p in properties if p["property"] == name)
    return found


def test_every_table_of_the_platform_has_a_contract() -> None:
    assert set(contracts()) == {
        "bronze.market_trades",
        "bronze.oms_fills",
        "bronze.market_quotes",
        "silver.quotes",
        "silver.quotes_rt",
        "gold.spreads_1m",
        "gold.spreads_1m_rt",
        "bronze.crm_customers",
        "bronze.dead_letters",
        "silver.customers",
        "bronze.files_eod_bars",
        "bronze.files_instruments",
        "bronze.files_trade_history",
        "silver.instruments",
        "silver.trades",
        "silver.trades_rt",
        "silver.fills",
        "silver.fills_rt",
        "gold.bars_1m",
        "gold.bars_1m_rt",
        "gold.bars_1h",
        "gold.customer_activity_daily",
        "gold.features_1m",
        "gold.predictions",
        "ops.model_checks",
        "gold.market_daily",
        "gold.positions",
        "gold.positions_rt",
        "ops.quality_checks",
        "ops.erasures",
        "ops.commands",
        "gold.eod_bars",
        "ops.file_loads",
        "ops.poison_events",
        "ops.maintenance",
        "ops.runs",
        "ops.reconciliations",
        "ops.redrives",
    }


def test_a_twin_has_the_columns_of_its_table_and_is_kept_until_pruned() -> None:
    table, twin = contract("gold.bars_1m"), contract("gold.bars_1m_rt")
    assert table.speed_twin == twin.name
    assert twin.batch_twin == table.name
    assert (twin.columns, twin.key, twin.partitioning) == (
        table.columns,
        table.key,
        table.partitioning,
    )
    assert table.retention_days == 366
    assert twin.retention_days is None
    assert twin.properties["write.metadata.delete-after-commit.enabled"] == "true"


def test_the_coarser_bars_have_the_columns_of_the_minute_bars() -> None:
    minute = contract("gold.bars_1m").column_names
    assert contract("gold.bars_1h").column_names == minute
    days = contract("gold.market_daily").column_names
    assert days == tuple("business_date" if n == "window_start" else n for n in minute)


def test_bronze_lands_the_trades_topic() -> None:
    (topic,) = contract("bronze.market_trades").topics
    assert topic == topics()["market.trades"]
    assert topic.event_time == "event_time"
    assert (topic.key, [version.id for version in topic.versions]) == ("venue:symbol", [1])


def test_the_kernel_makes_the_topics_that_the_contracts_state() -> None:
    assert set(EVENT_TOPICS) == set(landed_topics())
    assert set(topics()) == {*EVENT_TOPICS, DEAD_LETTERS_TOPIC}


def test_arrow_and_iceberg_schemas_follow_the_contract() -> None:
    table = contract("silver.trades")
    assert tuple(table.arrow_schema().names) == table.column_names
    assert not table.arrow_schema().field("venue").nullable
    assert str(table.iceberg_schema().find_type("notional")) == "decimal(38, 16)"
    assert table.iceberg_schema().identifier_field_names() == set(table.key)
    assert not contract("silver.trades_rt").iceberg_schema().identifier_field_names()


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(ContractError, match=r"silver\.tirades"):
        contract("silver.tirades")


Break = Callable[[dict[str, Any]], object]
BROKEN: dict[str, tuple[Break, str]] = {
    "unknown type": (
        lambda d: column(d, "price").update(physicalType="decimall(18,8)"),
        "silver.trades.price.physicalType",
    ),
    "too precise a decimal": (
        lambda d: column(d, "price").update(physicalType="decimal(39,8)"),
        "silver.trades.price.physicalType",
    ),
    "logical type of another type": (
        lambda d: column(d, "price").update(logicalType="string"),
        "silver.trades.price.physicalType",
    ),
    "time without a zone": (
        lambda d: column(d, "event_time").update(physicalType="timestamp"),
        "silver.trades.event_time.physicalType",
    ),
    "duplicate column": (
        lambda d: column(d, "quantity").update(name="price"),
        "silver.trades.price",
    ),
    "bad column name": (
        lambda d: column(d, "quantity").update(name="Quantity"),
        "silver.trades.properties[6].name",
    ),
    "optional key column": (
        lambda d: column(d, "venue").update(required=False),
        "silver.trades.venue.primaryKey",
    ),
    "no key": (
        lambda d: [p.pop("primaryKey", None) for p in d["schema"][0]["properties"]],
        "silver.trades.primaryKey",
    ),
    "key positions with a gap": (
        lambda d: column(d, "venue").update(primaryKeyPosition=7),
        "silver.trades.primaryKeyPosition",
    ),
    "sort by what is no column": (
        lambda d: custom(d, "sortOrder").update(value=["venue", "colour"]),
        "silver.trades.sortOrder",
    ),
    "unknown transform": (
        lambda d: column(d, "event_time")["customProperties"][1].update(value="fortnight"),
        "silver.trades.event_time.partitionTransform",
    ),
    "transform of the wrong type": (
        lambda d: column(d, "event_time")["customProperties"][1].update(value="truncate[4]"),
        "silver.trades.event_time.partitionTransform",
    ),
    "partitioned without a transform": (
        lambda d: column(d, "event_time")["customProperties"].pop(1),
        "silver.trades.event_time.partitionTransform",
    ),
    "no retention": (lambda d: d["slaProperties"].pop(0), "slaProperties.retention"),
    "no freshness": (lambda d: d["slaProperties"].pop(1), "slaProperties.latency"),
    "no retention of the twin": (lambda d: d["slaProperties"].pop(2), "slaProperties.retention"),
    "negative retention": (
        lambda d: d["slaProperties"][0].update(value=-1),
        "slaProperties.retention(silver.trades).value",
    ),
    "kept for no reason": (
        lambda d: d["slaProperties"][0].update(value="kept"),
        "slaProperties.retention(silver.trades).description",
    ),
    "an age, but no partitions of time": (
        lambda d: column(d, "event_time")["customProperties"][1].update(value="bucket[8]"),
        "slaProperties.retention(silver.trades).value",
    ),
    "unknown unit": (
        lambda d: d["slaProperties"][0].update(unit="fortnight"),
        "slaProperties.retention(silver.trades).unit",
    ),
    "no owner": (lambda d: d.pop("team"), "team.name"),
    "no required": (lambda d: column(d, "price").pop("required"), "silver.trades.price.required"),
    "no description": (
        lambda d: column(d, "price").pop("description"),
        "silver.trades.price.description",
    ),
    "no classification": (
        lambda d: column(d, "price").pop("classification"),
        "silver.trades.price.classification",
    ),
    "unknown key at the top": (lambda d: d.update(retention="7y"), "retention"),
    "unknown key in a column": (
        lambda d: column(d, "venue").update(requierd=True),
        "schema[0].properties[0].requierd",
    ),
    "unknown custom property": (
        lambda d: column(d, "price")["customProperties"].append({"property": "units", "value": 1}),
        "silver.trades.price.units",
    ),
    "wrong type of a key": (
        lambda d: column(d, "venue").update(required="perhaps"),
        "schema[0].properties[0].required",
    ),
    "unknown write profile": (
        lambda d: custom(d, "writeProfile").update(value="batchy"),
        "silver.trades.writeProfile",
    ),
    "alias of another column": (
        lambda d: column(d, "price")["customProperties"].append(
            {"property": "aliases", "value": ["quantity"]}
        ),
        "silver.trades.quantity",
    ),
    "dropped and there": (
        lambda d: d["schema"][0]["customProperties"].append(
            {"property": "droppedColumns", "value": ["price"]}
        ),
        "silver.trades.price",
    ),
    "dropped what is no name": (
        lambda d: d["schema"][0]["customProperties"].append(
            {"property": "droppedColumns", "value": "fee"}
        ),
        "silver.trades.droppedColumns",
    ),
    "made of what is no table": (
        lambda d: custom(d, "sources").update(value=["market_trades"]),
        "silver.trades.sources",
    ),
    "required and carried": (
        lambda d: column(d, "state").update(
            customProperties=[{"property": "carried", "value": True}]
        ),
        "silver.trades.state.carried",
    ),
    "twin of itself": (
        lambda d: custom(d, "speedTwin").update(value="silver.trades"),
        "silver.trades.speedTwin",
    ),
    "an older standard": (lambda d: d.update(apiVersion="v2.2.2"), "apiVersion"),
    "two tables": (lambda d: d["schema"].append(d["schema"][0]), "schema"),
    "no namespace": (
        lambda d: d["schema"][0].update(physicalName="trades"),
        "schema[0].physicalName",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_contract_is_refused_with_file_and_field(name: str) -> None:
    spoil, location = BROKEN[name]
    doc = document()
    spoil(doc)
    with pytest.raises(ContractError) as refusal:
        parse(yaml.safe_dump(doc), "some.yaml")
    assert (refusal.value.source, refusal.value.location) == ("some.yaml", location)
    assert "some.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"versions": [{"id": 0, "file": "a"}]}, "bronze.market_trades.topic.versions[0].id"),
        ({"versions": [{"id": 1}]}, "bronze.market_trades.topic.versions[0]"),
        ({"versions": []}, "bronze.market_trades.topic.subject"),
        ({"name": None}, "bronze.market_trades.topic.name"),
        ({"colour": "red"}, "bronze.market_trades.topic.colour"),
    ],
)
def test_a_wrong_topic_is_refused(change: dict[str, Any], location: str) -> None:
    doc = document("bronze.market_trades")
    custom(doc, "topic")["value"].update(change)
    with pytest.raises(ContractError) as refusal:
        parse(yaml.safe_dump(doc), "some.yaml")
    assert refusal.value.location == location


def test_a_dataset_states_what_its_files_hold() -> None:
    datasets = file_datasets()
    assert {name: dataset.table for name, dataset in datasets.items()} == {
        "instruments": "bronze.files_instruments",
        "eod_bars": "bronze.files_eod_bars",
        "trade_history": "bronze.files_trade_history",
    }
    first, *_ = {dataset.table: contract(dataset.table).columns for dataset in datasets.values()}
    for dataset in datasets.values():
        assert contract(dataset.table).column_names == contract(first).column_names
        assert contract(dataset.table).files == dataset
    kind = next(c for c in datasets["instruments"].columns if c.name == "kind")
    assert (kind.required, kind.synonyms[0], "SPOT" in kind.values) == (True, "instrument_type", 1)


def stated_files(doc: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = doc["schema"][1]
    return found


BROKEN_FILES: dict[str, tuple[Break, str]] = {
    "two kinds of files": (lambda d: d["schema"].append(stated_files(d)), "schema"),
    "no name": (lambda d: stated_files(d).pop("physicalName"), "schema.physicalName"),
    "unknown format": (
        lambda d: stated_files(d)["customProperties"][0].update(value=["xls"]),
        "instruments.formats",
    ),
    "no columns": (lambda d: stated_files(d).pop("properties"), "instruments.properties"),
    "a type that no text is": (
        lambda d: stated_files(d)["properties"][0].update(
            physicalType="binary", logicalType="string"
        ),
        "instruments.venue.physicalType",
    ),
    "unknown rule": (
        lambda d: stated_files(d)["properties"][0].update(logicalTypeOptions={"maxLength": 3}),
        "instruments.venue.logicalTypeOptions.maxLength",
    ),
    "a pattern that is none": (
        lambda d: stated_files(d)["properties"][0].update(logicalTypeOptions={"pattern": "("}),
        "instruments.venue.logicalTypeOptions.pattern",
    ),
    "a bound that is none": (
        lambda d: stated_files(d)["properties"][5].update(logicalTypeOptions={"minimum": "one"}),
        "instruments.tick_size.logicalTypeOptions.minimum",
    ),
    "a synonym that is another column": (
        lambda d: stated_files(d)["properties"][1].update(synonyms=[{"synonym": "venue"}]),
        "instruments.symbol.synonyms",
    ),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_files_wrongly_stated_are_refused_with_file_and_field(name: str) -> None:
    spoil, location = BROKEN_FILES[name]
    doc = document("bronze.files_instruments")
    spoil(doc)
    with pytest.raises(ContractError) as refusal:
        parse(yaml.safe_dump(doc), "some.yaml")
    assert (refusal.value.source, refusal.value.location) == ("some.yaml", location)


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "a: b: c"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"some\.yaml: document"):
        parse(text, "some.yaml")


def test_a_table_stated_in_two_files_is_refused(tmp_path: Path) -> None:
    text = (CONTRACTS / "ops.runs.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(ContractError, match=r"b\.yaml: table ops\.runs: .* a\.yaml"):
        load(tmp_path)


def test_a_table_made_of_one_that_nobody_states_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text((CONTRACTS / "silver.quotes.yaml").read_text())
    with pytest.raises(ContractError, match=r"a\.yaml: silver\.quotes\.sources: .*market_quotes"):
        load(tmp_path)


def test_uniqueness_is_asked_of_the_key_itself_and_of_no_hash_of_it() -> None:
    within = dict.fromkeys(
        ("silver.trades", "silver.quotes"), ("date_trunc('minute', event_time)",)
    )
    for name, table in contracts().items():
        asked = [rule.query for rule in table.quality if rule.name == "key_is_unique"]
        key = ", ".join((*table.key, *within.get(name, ())))
        query = f"SELECT 1 FROM ${{object}} GROUP BY {key} HAVING count(*) > 1"
        assert asked == ([f"SELECT count(*) FROM ({query})"] if table.quality else []), name
