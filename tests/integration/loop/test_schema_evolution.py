"""Fields come, widen, change their names and go, while events of all versions are in one log.

The contracts are the real ones, changed as people would change them; the tables have data before
and after each change, and both layers write to them. What the merged views show is compared with
one naive pass over the log, the fields that are carried among it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fill_log import bust, fill
from fills_lake import FillsLake
from pyspark.sql import SparkSession
from schema_drafts import Document, Draft, optional, renamed
from small_lake import BEFORE, SmallLake, trade

import schemas
from demo.oracle import History, Trade, compare, naive_bars, naive_days, naive_hours, naive_trades
from demo.positions_oracle import naive_fills, naive_positions
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import tables
from schemas.registry import ContractRegistry, registered_schema
from schemas.wire import EventCodec
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

AFTER = datetime(2024, 8, 9, 0, 0, 10, tzinfo=UTC)
BRONZE, SILVER = "bronze.market_trades", "silver.trades"
BARS = ("gold.bars_1m", "gold.bars_1h", "gold.market_daily")
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}
# The fields of an event that are carried, by the version that it is written in.
FIELDS = {
    1: (),
    2: ("maker_orders", "fee"),
    3: ("matched_orders", "fee"),
    4: ("matched_orders",),
}
NAMES = {"matched_orders": "maker_orders", "algorithm": "strategy"}


def second(draft: Draft) -> None:
    """Two fields come and one that nobody reads goes."""

    def change(fields: dict[str, Document]) -> None:
        del fields["received_at"]
        fields["maker_orders"] = optional("maker_orders", "int")
        fields["fee"] = optional("fee", MONEY)

    draft.next_version(2, change, of=BRONZE)
    draft.add(SILVER, "maker_orders", "int", carried=True)
    draft.add(SILVER, "fee", "decimal(18,8)", carried=True)
    for table in BARS:
        draft.add(table, "maker_orders", "decimal(38,0)", carried=True)
        draft.add(table, "fee", "decimal(38,8)", carried=True)


def third(draft: Draft) -> None:
    """One becomes wider and has another name; a column of the tables becomes wider, too."""

    def change(fields: dict[str, Document]) -> None:
        fields["maker_orders"]["type"] = ["null", "long"]
        renamed(fields, "maker_orders", "matched_orders")

    draft.next_version(3, change, of=BRONZE)
    name: dict[str, Any] = {"name": "matched_orders", "aliases": ["maker_orders"]}
    draft.change(SILVER, "maker_orders", physicalType="long", **name)
    draft.change(SILVER, "fee", physicalType="decimal(28,8)")
    for table in BARS:
        draft.change(table, "maker_orders", **name)


def fourth(draft: Draft) -> None:
    """One goes."""
    draft.next_version(4, lambda fields: fields.pop("fee"), of=BRONZE)
    for table in (SILVER, *BARS):
        draft.drop(table, "fee")


@dataclass
class VersionedLake(SmallLake):
    """Writes each event in the version of the schema that it names."""

    def encode(self, event: Mapping[str, Any]) -> bytes:
        topic, registry = schemas.topics()[self.flow.topic], ContractRegistry()
        known = tuple(v for v in topic.versions if v.id <= event["version"])
        fields = [f["name"] for f in registered_schema(registry, event["version"])["fields"]]
        codec = EventCodec(registry, 1_000_000, replace(topic, versions=known))
        return codec.encode({name: event.get(NAMES.get(name, name)) for name in fields})

    def evolve(self, draft: Draft, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """Apply the contracts and start both layers by them; return what was done, in words."""
        draft.deploy(monkeypatch)
        done = tables.apply(self.catalog)
        self.restart_speed()
        return {f"{one.table}: {words}" for one in done for words in one.changes}


class EvolvingLake(VersionedLake):
    """Trades; what they carry is told from the events."""

    def carried(self, trade: Trade) -> dict[str, Any]:
        """Return what the silver row of a trade carries of the report that counts."""
        wanted = schemas.contract(SILVER).carried
        if trade.trade_position is None:
            return dict.fromkeys(wanted)
        (event,) = (
            logged.event
            for logged in self.events()
            if (logged.partition, logged.position) == (trade.log_partition, trade.trade_position)
        )
        stated = {NAMES.get(name, name) for name in FIELDS[event["version"]]}
        fields = {name: NAMES.get(name, name) for name in wanted}
        return {name: event[f] if f in stated else None for name, f in fields.items()}

    def added_up(self, of: Iterable[Trade]) -> dict[str, Any]:
        """Return what a bar of trades carries."""
        carried = [self.carried(trade) for trade in of if trade.counts]
        sums: dict[str, Any] = {}
        for name in schemas.contract(SILVER).carried:
            values = [one[name] for one in carried if one[name] is not None]
            sums[name] = sum(values) if values else None
        return sums


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> EvolvingLake:
    return EvolvingLake(spark, load_catalog(spark_settings), spark_settings)


def event(version: int, number: int, **fields: Any) -> dict[str, Any]:
    """An event in a version of the schema, on either side of midnight by its number."""
    stated = {
        "version": version,
        "maker_orders": number * (2**31 if version > 2 else 1),
        "fee": Decimal(number) / 8,
        "event_time": BEFORE if number % 2 else AFTER,
        "venue": ("binance_spot", "binance_usdm")[number // 2 % 2],
    }
    return trade(number, **stated | fields)


def expected(lake: EvolvingLake) -> dict[str, list[dict[str, Any]]]:
    """Return what the merged views must show of the log, by view."""
    log = lake.events()
    visible = History(log).visible()

    def bars(rows: Mapping[Any, Any], bucket: Any) -> list[dict[str, Any]]:
        found = []
        for key, row in rows.items():
            inside = [
                trade
                for window, trades in visible
                if (window.venue, window.symbol, bucket(window.window_start)) == tuple(key)
                for trade in trades
            ]
            found.append(asdict(row) | lake.added_up(inside))
        return found

    return {
        "serving.trades": [
            asdict(trade) | lake.carried(trade) for trade in naive_trades(log).values()
        ],
        "serving.bars_1m": bars(naive_bars(log), lambda start: start),
        "serving.bars_1h": bars(naive_hours(log), lambda start: start.replace(minute=0)),
        "serving.market_daily": bars(naive_days(log), lambda start: start.date()),
    }


KEYS = {
    "serving.trades": ("venue", "symbol", "trade_id", "event_time"),
    "serving.bars_1m": ("venue", "symbol", "window_start"),
    "serving.bars_1h": ("venue", "symbol", "window_start"),
    "serving.market_daily": ("venue", "symbol", "business_date"),
}


def shown(lake: SmallLake, as_of: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
    engine = SqlEngine(lake.catalog)
    found = {
        view: engine.query(f"SELECT * FROM {view} ORDER BY ALL", as_of=as_of).to_pylist()
        for view in KEYS
    }
    engine.close()
    return found


def assert_complete(lake: EvolvingLake) -> None:
    """Compare the merged views with the oracle over the whole log, carried columns too."""
    wanted, found = expected(lake), shown(lake)
    for view, key in KEYS.items():
        rows = dict(enumerate(wanted[view]))
        verdict = compare(rows, found[view], key=key, ignore=("log_partition",))
        assert verdict.equal, f"{view}: {verdict}"


def assert_both_layers_see_all(lake: EvolvingLake) -> Interval:
    """Let the speed layer see the log, then batch, and look after each; return what was landed."""
    lake.stream()
    assert_complete(lake)
    interval = lake.land()
    lake.batch(interval)
    assert_complete(lake)
    records = lake.reconcile(interval)
    assert [record.verdict for record in records] == ["AGREE", "AGREE"], records
    return interval


def test_fields_come_widen_change_their_names_and_go(
    lake: EvolvingLake, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        lake.produce(event(1, number))
    landed = [assert_both_layers_see_all(lake)]
    # The speed layer is ahead when the change comes, and nothing is written right after it.
    lake.produce(event(1, 4))
    lake.stream()
    before, at = shown(lake), datetime.now(UTC)

    second(draft)
    changes = lake.evolve(draft, monkeypatch)
    assert f"{SILVER}: added maker_orders int" in changes
    assert "gold.bars_1m_rt: added fee decimal(38, 8)" in changes
    assert_complete(lake)
    younger = dict.fromkeys(("maker_orders", "fee"))
    then = shown(lake, as_of=at)
    for view, rows in before.items():
        assert then[view] == [row | younger for row in rows], view
    verdicts = [record.verdict for record in lake.reconcile(landed[0])]
    assert verdicts == ["AGREE", "AGREE"], "snapshots without the new columns are compared"

    for one in (
        event(2, 5),
        event(1, 6),
        event(2, 5, maker_orders=77),  # a duplicate: the first report counts
        event(2, 1, event_type="CORRECTION", price=Decimal(7)),
        event(1, 5, event_type="CORRECTION", price=Decimal(8)),
        event(2, 8, maker_orders=None),
    ):
        lake.produce(one)
    landed.append(assert_both_layers_see_all(lake))

    third(draft)
    changes = lake.evolve(draft, monkeypatch)
    assert f"{SILVER}: renamed maker_orders to matched_orders" in changes
    assert "silver.trades_rt: widened matched_orders to long" in changes
    assert f"{SILVER}: widened fee to decimal(28, 8)" in changes
    assert_complete(lake)
    for one in (
        event(3, 9),
        event(2, 7),
        event(1, 10),
        event(3, 5, event_type="CANCEL"),
        event(2, 11),
        event(3, 11, maker_orders=78),
        event(3, 13),
        event(3, 14),
    ):
        lake.produce(one)
    landed.append(assert_both_layers_see_all(lake))
    engine = SqlEngine(lake.catalog)
    wide = "SELECT count(*) AS trades FROM silver.trades WHERE matched_orders {} {}"
    counted = [
        engine.query(wide.format(sign, 2**31)).to_pylist()[0]["trades"] for sign in ("<", ">=")
    ]
    engine.close()
    assert counted == [3, 3], "files of both widths are told apart by their bounds"

    fourth(draft)
    changes = lake.evolve(draft, monkeypatch)
    assert {f"{table}: dropped fee" for table in (SILVER, *BARS)} < changes
    assert_complete(lake)
    for one in (event(4, 15), event(3, 16), event(2, 17), event(1, 18), event(4, 17)):
        lake.produce(one)
    landed.append(assert_both_layers_see_all(lake))
    assert "fee" not in shown(lake)["serving.trades"][0]

    versions = lake.catalog.load_table(BRONZE).scan().to_arrow()["schema_id"].to_pylist()
    assert set(versions) == set(FIELDS)
    stable = shown(lake)
    for interval in landed:
        report = lake.batch(interval)
        assert report.rows["gold.bars_1m"] == 0, "an old hour is what it was, by new contracts too"
    assert shown(lake) == stable
    records = lake.reconcile(landed[-1])
    assert [record.verdict for record in records] == ["AGREE", "AGREE"]
    assert lake.catalog.load_table("silver.trades_rt").scan().to_arrow().num_rows == 0
    assert_complete(lake)


def test_layers_that_started_before_a_new_column_go_on_beside_it(
    lake: EvolvingLake, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(event(1, 1))
    assert_both_layers_see_all(lake)
    second(draft)
    tables.apply(lake.catalog, schemas.load(draft.folder / "contracts").values())
    lake.produce(event(1, 3))
    lake.produce(event(1, 2))
    assert_both_layers_see_all(lake)
    lake.evolve(draft, monkeypatch)
    lake.produce(event(2, 4))
    lake.produce(event(1, 1, event_type="CANCEL", event_time=BEFORE + timedelta(seconds=1)))
    assert_both_layers_see_all(lake)


FILLS_SILVER = "silver.fills"
# Ids of versions of the schema of fills.
FIRST, SECOND, THIRD = 20, 21, 22


class EvolvingFills(VersionedLake, FillsLake):
    """Fills, whose second version of the schema has a strategy, which the third calls algorithm."""

    def assert_complete(self) -> None:
        """Compare the merged views with the oracle over the whole log, the carried column too."""
        log = self.events()
        said = {(logged.partition, logged.position): logged.event for logged in log}
        fills = []
        for one in naive_fills(log).values():
            assert one.fill_position is not None
            event = said[one.log_partition, one.fill_position]
            stated = event["strategy"] if event["version"] > FIRST else None
            carried = dict.fromkeys(schemas.contract(FILLS_SILVER).carried, stated)
            fills.append(asdict(one) | carried)
        engine = SqlEngine(self.catalog)
        for view, rows, key in (
            ("serving.fills", dict(enumerate(fills)), ("customer_id", "fill_id")),
            ("serving.positions", naive_positions(log), ("customer_id", "venue", "symbol")),
        ):
            found = engine.query(f"SELECT * FROM {view}").to_pylist()
            verdict = compare(rows, found, key=key, ignore=("log_partition",))
            assert verdict.equal, f"{view}: {verdict}"
        engine.close()

    def both_layers_see(self, *events: dict[str, Any]) -> None:
        """Let the speed layer see events, then batch, and look after each."""
        for event in events:
            self.produce(event)
        self.stream()
        self.assert_complete()
        interval = self.land()
        self.batch(interval)
        self.assert_complete()
        records = self.reconcile(interval)
        assert [record.verdict for record in records] == ["AGREE", "AGREE"], records


def test_a_field_of_fills_comes_and_changes_its_name(
    spark: SparkSession,
    spark_settings: Settings,
    draft: Draft,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = EvolvingFills(spark, load_catalog(spark_settings), spark_settings)
    lake.both_layers_see(fill(1, version=FIRST), fill(1, version=FIRST, customer_id="C-2"))

    def comes(fields: dict[str, Document]) -> None:
        fields["strategy"] = optional("strategy", "string")

    draft.next_version(SECOND, comes, of="bronze.oms_fills")
    draft.add(FILLS_SILVER, "strategy", "string", carried=True)
    changes = lake.evolve(draft, monkeypatch)
    assert changes == {
        "silver.fills: added strategy string",
        "silver.fills_rt: added strategy string",
    }
    lake.assert_complete()
    lake.both_layers_see(
        fill(2, version=SECOND, strategy="TWAP"),
        fill(3, version=FIRST, side="SELL"),
        fill(1, version=SECOND, strategy="a duplicate: the first report counts"),
        bust(3, version=SECOND, strategy="and not a bust's"),
    )

    def is_renamed(fields: dict[str, Document]) -> None:
        renamed(fields, "strategy", "algorithm")

    draft.next_version(THIRD, is_renamed, of="bronze.oms_fills")
    draft.change(FILLS_SILVER, "strategy", name="algorithm", aliases=["strategy"])
    changes = lake.evolve(draft, monkeypatch)
    assert f"{FILLS_SILVER}: renamed strategy to algorithm" in changes
    lake.assert_complete()
    lake.both_layers_see(
        fill(4, version=THIRD, strategy="VWAP", side="SELL"),
        fill(5, version=SECOND, strategy="TWAP", customer_id="C-2"),
        fill(6, version=FIRST),
        bust(1, version=FIRST),
    )
    stated = lake.catalog.load_table(FILLS_SILVER).scan().to_arrow()["algorithm"].to_pylist()
    assert sorted(filter(None, stated)) == ["TWAP", "TWAP", "VWAP"]
