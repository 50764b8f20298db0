"""An hour's batch beside plain Spark that computes the same bars from the same files.

Usage: python bench/hourly_batch.py [--events 5000000] [--rounds 1] [--json out.json]

Synthetic trades of one business hour are sent to a broker of their own and landed once. Then each
peer works on them in a fresh process: ours as the batch verb does it (decode, judge, resolve, write
silver, audit, publish to silver and three gold tables), plain Spark as somebody would who wants
nothing but the bars (decode, drop duplicates, aggregate, write Parquet). Sessions are started
before the clock. The bars of the two are compared; the ratio is taken within each round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from batch.datasets.trades import Trades
from batch.job import BatchJob
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from lakehouse.spark import spark_session
from schemas.registry import ContractRegistry
from schemas.topic_schemas import topic_schemas

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))
# Event time runs at 5,000 trades a second: five million are a third of an hour.
HOUR = "2024-08-08T12:00:00Z"
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
PEERS = ("ours", "plain")
COMPARED = ("open", "high", "low", "close", "trade_count", "volume", "notional")


def prepare(home: Path, events: int) -> None:
    """Make the lake and land the events."""
    environ = os.environ | {"LAKEHOUSE_HOME": str(home)}

    def run(*verb: str) -> None:
        subprocess.run([LAKEHOUSE, *verb], env=environ, check=True, stdout=subprocess.DEVNULL)

    run("up", "--only", "kafka")
    try:
        run("schemas", "apply")
        load = ["--events", str(events), "--rate", "0", "--symbols", "50", "--duplicate", "0.01"]
        run("synth", *load, "--seed", "7", "--start", HOUR, "--json")
        run("land", "--once")
    finally:
        run("down")


def plain_bars(spark: SparkSession, files: list[str]) -> DataFrame:
    """Compute minute bars as directly as Spark allows."""
    schema = topic_schemas(ContractRegistry(), "market.trades").reader
    event = from_avro(F.expr("substring(payload, 6)"), schema)
    in_contracts = F.col("quantity_unit") == "CONTRACT"
    worth = F.when(in_contracts, F.col("quantity") * F.col("contract_size")).otherwise(
        F.col("quantity") * F.col("price")
    )
    order = F.struct("event_time", "trade_id")
    return (
        spark.read.parquet(*files)
        .select(event.alias("event"))
        .select("event.*")
        .dropDuplicates(["venue", "symbol", "trade_id", "event_time"])
        .withColumn("notional", worth.cast("decimal(38,16)"))
        .withColumn(
            "volume",
            F.when(in_contracts, F.col("notional") / F.col("price"))
            .otherwise(F.col("quantity"))
            .cast("decimal(38,8)"),
        )
        .groupBy("venue", "symbol", F.date_trunc("minute", "event_time").alias("window_start"))
        .agg(
            F.min_by("price", order).alias("open"),
            F.max("price").alias("high"),
            F.min("price").alias("low"),
            F.max_by("price", order).alias("close"),
            F.count("*").alias("trade_count"),
            F.sum("volume").cast("decimal(38,8)").alias("volume"),
            F.sum("notional").cast("decimal(38,16)").alias("notional"),
        )
    )


def work(peer: str, home: Path) -> float:
    """Do one peer's work in this process; return the seconds that it took."""
    settings = Settings(home=home, spark_driver_memory="6g")
    catalog = load_catalog(settings)
    bronze = catalog.load_table("bronze.market_trades")
    spark = spark_session(settings, f"bench {peer}")
    began = time.monotonic()
    if peer == "ours":
        progress = read_progress(bronze)
        if progress is None:
            raise SystemExit("nothing was landed")
        BatchJob(spark, catalog, settings, Trades()).run(Interval(SINCE, progress.ingested_through))
    else:
        files = bronze.inspect.files()["file_path"].to_pylist()
        plain_bars(spark, files).write.mode("overwrite").parquet(str(home / "plain_bars"))
    seconds = time.monotonic() - began
    if peer == "plain":
        compare(spark, home)
    spark.stop()
    return seconds


def compare(spark: SparkSession, home: Path) -> None:
    """Stop if the two peers' bars differ."""
    columns = ("venue", "symbol", "window_start", *COMPARED)
    ours = spark.table("lake.gold.bars_1m").select(*columns)
    plain = spark.read.parquet(str(home / "plain_bars")).select(*columns)
    if ours.exceptAll(plain).count() or plain.exceptAll(ours).count():
        raise SystemExit("the bars differ: the peers did not do the same work")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps({"seconds": work(options.peer, options.home)}))
        return
    rounds = []
    with tempfile.TemporaryDirectory(prefix="hourly-batch-") as folder:
        home = Path(folder) / "home"
        prepare(home, options.events)
        for _ in range(options.rounds):
            seconds = {}
            for peer in PEERS:
                command = [sys.executable, __file__, "--peer", peer, "--home", str(home)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds[peer] = round(json.loads(output.splitlines()[-1])["seconds"], 1)
            rounds.append(seconds | {"ratio": round(seconds["ours"] / seconds["plain"], 2)})
    figures = {"events": options.events, "rounds": rounds}
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
