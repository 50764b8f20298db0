"""Rebuilds: new versions of tables beside the old ones, while the layers go on."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from pyspark.sql import SparkSession
from small_lake import EPOCH, TICK, SmallLake, trade

from batch.datasets import chosen, sharing
from batch.job import BatchJob
from batch.publication import Branch, PublishConflictError
from batch.rebuild import cli
from batch.rebuild.job import NoVersionError, OtherVersionError, Rebuild, UnfinishedError
from batch.rebuild.versions import Version
from batch.runs import Run
from demo.oracle import compare, naive_bars
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

TABLES = ("silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily")


@pytest.fixture
def new_lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


@pytest.fixture(scope="module")
def landed(spark: SparkSession, spark_settings: Settings) -> Callable[[], SmallLake]:
    """Two hours of trades, landed in three intervals, all published, and what speed makes of it."""
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    intervals = []
    for number in range(1, 4):
        lake.produce(trade(number, event_time=trade()["event_time"] + timedelta(hours=number % 2)))
        intervals.append(lake.land())
    lake.stream()
    for interval in intervals:
        lake.batch(interval)
    return lake.saved()


@pytest.fixture
def lake(landed: Callable[[], SmallLake]) -> SmallLake:
    return landed()


@pytest.fixture
def before_a_gap(new_lake: SmallLake) -> Interval:
    """The first of three landed intervals; batch has published it and the third."""
    new_lake.produce(trade(1))
    first = new_lake.land()
    new_lake.produce(trade(2))
    new_lake.land()
    new_lake.produce(trade(3, event_time=trade()["event_time"] + timedelta(hours=4)))
    third = new_lake.land()
    new_lake.batch(first)
    new_lake.batch(third)
    return first


def rebuild(lake: SmallLake, kind: type[Rebuild] = Rebuild) -> Rebuild:
    return kind([BatchJob(lake.spark, lake.catalog, lake.settings, lake.dataset)])


def spoil(lake: SmallLake) -> None:
    """Let the published trades be wrong, as a defect of the batch layer had made them."""
    lake.spark.sql("UPDATE lake.silver.trades SET price = price + 1 WHERE trade_id = 2")
    lake.spark.sql("UPDATE lake.gold.bars_1m SET close = close + 1 WHERE trade_count = 1")


def bars(lake: SmallLake) -> list[dict[str, object]]:
    engine = SqlEngine(lake.catalog)
    found = engine.query("SELECT * FROM serving.bars_1m").to_pylist()
    engine.close()
    return found


def assert_exact(lake: SmallLake) -> None:
    verdict = compare(naive_bars(lake.events()), bars(lake), ignore=("log_partition",))
    assert verdict.equal, verdict


def assert_is_no_longer_exact(lake: SmallLake) -> None:
    assert not compare(naive_bars(lake.events()), bars(lake), ignore=("log_partition",)).equal


def test_a_version_that_is_named_is_built_and_swapped_once(
    lake: SmallLake, capsys: pytest.CaptureFixture[str]
) -> None:
    one = rebuild(lake)
    with pytest.raises(OtherVersionError, match="the next version is trades_v2"):
        one.build("trades_v7")
    one.build("trades_v2")
    for _ in range(2):
        assert cli._rebuild(one, "trades_v2", False) is None
    said = capsys.readouterr().out
    assert "built from" not in said
    assert "trades_v2 is what the tables show; trades_v1 is kept for a rollback" in said
    assert "trades_v2 is what the tables show already" in said
    assert one.versions.next == "trades_v3"


def test_what_is_built_anew_is_the_same_and_takes_the_place_of_the_old(lake: SmallLake) -> None:
    one = rebuild(lake)
    assert one.versions.current == "trades_v1"
    version, found = one.compare(one.build())
    assert version.name == "trades_v2"
    assert one.events(version) == len(lake.events())
    assert {comparison.table: comparison.rows for comparison in found} == {
        "silver.trades": 3,
        "gold.bars_1m": 2,
        "gold.bars_1h": 2,
        "gold.market_daily": 2,
    }
    assert all(comparison.equal for comparison in found)
    assert found[0].partitions == 2
    assert_exact(lake)

    one.swap()
    assert one.versions.current == "trades_v2"
    for table in map(lake.catalog.load_table, TABLES):
        assert "trades_v1" in table.refs(), "nothing to go back to"
        assert "trades_v2" not in table.refs()
    assert_exact(lake)
    assert [
        record.verdict for record in lake.reconcile(Interval(EPOCH, EPOCH + lake.landings * TICK))
    ] == ["AGREE"] * 2


def test_what_was_wrong_is_named_mended_and_can_be_had_back(lake: SmallLake) -> None:
    spoil(lake)
    before = bars(lake)
    one = rebuild(lake)
    _, found = one.compare(one.build())
    differing = {one.table: [(d.partition, d.new_rows) for d in one.differences] for one in found}
    assert differing["silver.trades"] == [("2024-08-08 23:00:00", 1)]
    assert differing["gold.bars_1h"] == []
    assert bars(lake) == before, "nobody has swapped yet"

    one.swap()
    assert_exact(lake)
    after = bars(lake)
    # What comes after the swap is in the version that is put back, too.
    lake.produce(trade(9, event_time=trade()["event_time"] + timedelta(hours=5)))
    lake.batch(lake.land())
    version = one.roll_back()
    assert version.name == one.versions.current == "trades_v3"
    wrong, right, new = before, after, [bar for bar in bars(lake) if bar["trade_count"] == 1]
    assert wrong != right
    assert Decimal(109) in [bar["close"] for bar in new]
    assert_is_no_longer_exact(lake)
    # And forward again.
    one.roll_back()
    assert_exact(lake)


def test_what_batch_publishes_meanwhile_is_caught_up_with(lake: SmallLake) -> None:
    one = rebuild(lake)
    one.build()
    lake.produce(trade(2, event_type="CORRECTION", price=Decimal(77)))
    lake.batch(lake.land())
    one.swap()
    assert {bar["status"] for bar in bars(lake)} == {"RECONCILED"}
    assert_exact(lake)


def test_what_batch_publishes_in_the_last_moment_is_not_lost(lake: SmallLake) -> None:
    late: list[Callable[[], object]] = [lambda: lake.batch(lake.land())]

    class Overtaken(Rebuild):
        def _caught_up(self, *given: object, **named: object) -> Version:
            version = super()._caught_up(*given, **named)  # type: ignore[arg-type]
            if self.versions.built() is not None and late:
                lake.produce(trade(2, event_type="CORRECTION", price=Decimal(77)))
                late.pop()()
            return version

    one = rebuild(lake, Overtaken)
    version = Rebuild(one.jobs).build()
    one.swap()
    assert not late, "batch has not published in between"
    assert version.name == one.versions.current
    assert_exact(lake)
    assert {bar["status"] for bar in bars(lake)} == {"RECONCILED"}


def test_a_version_does_not_replace_what_it_has_not_seen(lake: SmallLake) -> None:
    branch = Branch("silver.trades", "trades_v2")
    head = lake.catalog.load_table("silver.trades").metadata.current_snapshot_id
    rebuild(lake).build()
    lake.produce(trade(7))
    lake.batch(lake.land())
    with pytest.raises(PublishConflictError, match="catch up"):
        branch.replace_main(lake.catalog, expected=head, keep_as="trades_v1")
    rows = lake.catalog.load_table("silver.trades").scan("trade_id = 7").to_arrow()
    assert rows.num_rows == 1


def test_the_catalog_refuses_a_swap_that_was_overtaken(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild(lake).build()
    head = lake.catalog.load_table("silver.trades").metadata.current_snapshot_id
    commit = type(lake.catalog).commit_table

    def overtaken(catalog: object, *given: object, **named: object) -> object:
        monkeypatch.undo()
        lake.spark.sql("UPDATE lake.silver.trades SET price = price + 1 WHERE trade_id = 2")
        return commit(catalog, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(lake.catalog), "commit_table", overtaken)
    with pytest.raises(PublishConflictError, match="catch up"):
        Branch("silver.trades", "trades_v2").replace_main(
            lake.catalog, expected=head, keep_as="trades_v1"
        )
    assert "trades_v1" not in lake.catalog.load_table("silver.trades").refs()


def test_a_swap_that_was_interrupted_is_finished(lake: SmallLake) -> None:
    class PulledError(Exception):
        """Somebody has pulled the plug."""

    class Interrupted(Rebuild):
        def _drop_all_but(self, keep: str | None) -> list[str]:
            raise PulledError

    one = rebuild(lake)
    one.build()
    for name in TABLES[:1]:  # killed between two tables
        head = lake.catalog.load_table(name).metadata.current_snapshot_id
        Branch(name, "trades_v2").replace_main(lake.catalog, expected=head, keep_as="trades_v1")
    with pytest.raises(PulledError):  # and before the old version's leftovers were dropped
        Interrupted(one.jobs).swap()
    assert rebuild(lake).swap().name == "trades_v2"
    for table in map(lake.catalog.load_table, TABLES):
        assert {name for name in table.refs() if name.startswith("trades")} == {"trades_v1"}
    assert_exact(lake)


def test_a_build_that_was_interrupted_is_given_up_in_words(lake: SmallLake) -> None:
    class PulledError(BaseException):
        """Somebody has pulled the plug; no process can handle that."""

    class Interrupted(Rebuild):
        def _advance(self, *given: object, **named: object) -> Run:
            raise PulledError

    with pytest.raises(PulledError):
        rebuild(lake, Interrupted).build()
    with pytest.raises(UnfinishedError, match="lakehouse rebuild drop"):
        rebuild(lake).build()
    assert rebuild(lake).drop() == ["trades_v2"]
    assert rebuild(lake).build().name == "trades_v3"


@pytest.mark.usefixtures("before_a_gap")
def test_a_version_put_back_has_what_batch_had_left_out(new_lake: SmallLake) -> None:
    one = rebuild(new_lake)
    one.build()
    one.swap()
    # The run log says by now that all of it is published: the old version must not lack it.
    one.roll_back()
    assert_exact(new_lake)
    assert {bar["status"] for bar in bars(new_lake)} == {"RECONCILED"}


def test_an_older_interval_run_after_a_swap_takes_nothing_back(
    new_lake: SmallLake, before_a_gap: Interval
) -> None:
    one = rebuild(new_lake)
    _, found = one.compare(one.build())
    assert not found[0].equal, "the new version has seen what batch has left out"
    one.swap()
    assert_exact(new_lake)
    new_lake.batch(before_a_gap)
    assert_exact(new_lake)


def test_a_version_that_nobody_wants_is_dropped(lake: SmallLake) -> None:
    one = rebuild(lake)
    one.build()
    assert one.build().name == "trades_v3", "a name is given once"
    assert one.drop() == ["trades_v3"]
    with pytest.raises(NoVersionError, match="no version of trades was built"):
        one.swap()
    with pytest.raises(NoVersionError, match="no earlier version of trades"):
        one.roll_back()


def test_nothing_published_is_nothing_to_build(new_lake: SmallLake) -> None:
    with pytest.raises(NoVersionError, match="batch has published nothing of trades"):
        rebuild(new_lake).build()
    assert set(new_lake.catalog.load_table("silver.trades").refs()) <= {"main"}


def test_datasets_that_share_a_table_are_rebuilt_together() -> None:
    names = [[one.name for one in group] for group in sharing(chosen(["fills", "trades"]))]
    assert names == [["trades"], ["customers", "fills"]]
    assert len(sharing(chosen(None))) == 3
