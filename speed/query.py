"""The streaming query: from the topic, from where it stopped, into the speed layer."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import uniform
from threading import Event
from time import monotonic

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from lakehouse.coverage import batch_coverage
from lakehouse.errors import LakehouseError
from lakehouse.expiry import EXPIRE_EVERY_SECONDS, expire
from lakehouse.kafka import GROUP_PREFIX, jvm_client_settings, topic_id
from lakehouse.positions import LogPosition
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from lakehouse.tracing import micro_batch_span
from schemas import landed_topics
from schemas.registry import schema_registry
from speed import metrics
from speed.flow import Flow, observations
from speed.log import log_starts

# Catching up in bites keeps a micro-batch, and what a crash repeats, to seconds.
MAX_EVENTS_PER_BATCH = 100_000
# How soon a stop request is noticed; the query itself does not wait for it.
POLL_SECONDS = 0.5
# After repeating a batch that a crash cut short, Spark 4.1's Kafka source tells how far it is
# behind before it has looked (SPARK-55271). The batch is committed by then; the query is not.
REPEATED_BATCH_FAULT = 'the return value of "scala.Option.get()" is null'

_freshness = metrics.Freshness()
# What is away for longer is for an operator; until then a restart would only lose time.
OUTAGE_SECONDS = 900.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0
# Spark repeats the whole plan in its messages.
QUOTED_CHARACTERS = 300

_log = structlog.get_logger(__name__)


class WrongTopicError(LakehouseError):
    """The topic is not the one that bronze was landed from."""


class UncoveredLogError(LakehouseError):
    """The log has lost events that batch has not seen: windows would be partial."""


def current_generation(settings: Settings, catalog: Catalog, topic: str) -> int:
    """Return the generation of a topic, as the lander declared it.

    Raises:
        WrongTopicError: The topic was made anew and the lander was not told.
    """
    progress = read_progress(catalog.load_table(landed_topics()[topic]))
    if progress is None:
        return 0
    if progress.topic_id != (found := topic_id(settings, topic)):
        raise WrongTopicError(
            f"topic {topic} has the id {found}, bronze was landed from {progress.topic_id}: the "
            "topic was made anew; declare it with `lakehouse land --new-generation`"
        )
    return progress.generation


def starting_offsets(
    settings: Settings, catalog: Catalog, flow: Flow, generation: int
) -> dict[int, int]:
    """Return the offset of each partition at which a query without a checkpoint must start.

    That is where batch's coverage ends: what lies before is in silver, all of it.

    Raises:
        UncoveredLogError: The log begins later than that.
    """
    origin = LogPosition(generation, 0).encode()
    coverage = batch_coverage(catalog, flow.name, flow.topic, origin)
    offsets = {}
    for partition, first in log_starts(settings, flow.topic).items():
        offset = coverage.get(partition, origin) - origin
        if first > offset:
            raise UncoveredLogError(
                f"{flow.topic} partition {partition} begins at offset {first}, batch has covered "
                f"it up to {offset}: run `lakehouse batch` over all that is landed, then start "
                "again"
            )
        offsets[partition] = offset
    return offsets


def run_query(
    session: Callable[[], SparkSession],
    settings: Settings,
    catalog: Catalog,
    flow: Flow,
    *,
    once: bool,
    stop: Event,
    beat: Callable[[], None],
) -> None:
    """Run a flow's query until its end or until a stop is asked for.

    What fails is tried again for as long as an outage may last: the log, the catalog, the store or
    the cluster may be away, and how they fail is theirs to choose. Nothing is lost meanwhile: a
    query goes on from its last commit. Our own errors are decisions, and end it at once.

    Args:
        session: Returns the Spark session, another one if the last has died.
        settings: Addresses, checkpoint folder and trigger.
        catalog: The lake's catalog.
        flow: What to make of which topic.
        once: End at the end of the log as it is now; a failure ends it, too.
        stop: Set when it shall stop.
        beat: Called while the query makes progress or has nothing to do.

    Raises:
        LakehouseError: One of our own.
        Exception: The last failure, when there was no progress for ``OUTAGE_SECONDS``.
    """
    worked_at, waits = monotonic(), _backoff()

    def note() -> None:
        nonlocal worked_at, waits
        worked_at, waits = monotonic(), _backoff()
        beat()

    while not stop.is_set():
        try:
            query = start_query(session(), settings, catalog, flow, once=once)
            wait(query, flow, stop, beat=note, upkeep=lambda: expire_history(catalog, flow))
        except LakehouseError:
            raise
        except Exception as error:
            if REPEATED_BATCH_FAULT in str(error):
                _log.info("going on behind the repeated batch", spark_issue="SPARK-55271")
                continue
            if once or monotonic() - worked_at > OUTAGE_SECONDS:
                raise
            metrics.RESTARTS.inc()
            seconds = next(waits)
            _log.warning(
                "starting again",
                topic=flow.topic,
                wait_seconds=round(seconds, 1),
                error=_first_line(error),
            )
            stop.wait(seconds)
        else:
            return


def _backoff() -> Iterator[float]:
    """Yield seconds to wait, twice as long each time, with jitter."""
    longest = FIRST_WAIT_SECONDS
    while True:
        yield uniform(longest / 2, longest)  # noqa: S311 - not a secret
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:QUOTED_CHARACTERS]


def start_query(
    spark: SparkSession, settings: Settings, catalog: Catalog, flow: Flow, *, once: bool
) -> StreamingQuery:
    """Start a flow's query on its topic.

    Args:
        spark: The session.
        settings: Addresses, checkpoint folder and trigger.
        catalog: The lake's catalog.
        flow: What to make of which topic.
        once: Stop at the end of the log as it is now, instead of going on.
    """
    topic = flow.topic
    generation = current_generation(settings, catalog, topic)
    checkpoint = settings.checkpoints / "speed" / f"{topic}.g{generation}"
    fold = flow.fold(spark)
    source = (
        spark.readStream.format("kafka")
        .options(**{f"kafka.{key}": value for key, value in jvm_client_settings(settings).items()})
        .option("groupIdPrefix", f"{GROUP_PREFIX}speed")
        .option("subscribe", topic)
        .option("maxOffsetsPerTrigger", MAX_EVENTS_PER_BATCH)
        .option("failOnDataLoss", "true")
    )
    if not (checkpoint / "offsets").exists():
        starts = starting_offsets(settings, catalog, flow, generation)
        stated = {topic: {str(partition): offset for partition, offset in starts.items()}}
        source = source.option("startingOffsets", json.dumps(stated))
    records = records_of(source.load(), generation).observe(
        metrics.OBSERVATION, *metrics.observed_columns()
    )

    def process(micro_batch: DataFrame, number: int) -> None:
        with micro_batch_span(topic, number):
            fold.process(micro_batch)

    writer = (
        observations(
            flow, records, schema_registry(settings), max_payload_bytes=settings.max_payload_bytes
        )
        .writeStream.queryName(f"speed_{topic}")
        .option("checkpointLocation", checkpoint.as_uri())
        .foreachBatch(process)
    )
    every = f"{settings.speed_trigger_seconds} seconds"
    return (
        writer.trigger(availableNow=True) if once else writer.trigger(processingTime=every)
    ).start()


def expire_history(catalog: Catalog, flow: Flow) -> None:
    """Keep the history of the tables that a flow commits to every second short."""
    for table in flow.tables:
        now = datetime.now(UTC)
        expired = expire(catalog.load_table(table), now=now, carries_progress=False)
        metrics.EXPIRED.labels(table=table).inc(expired)


def records_of(log: DataFrame, generation: int) -> DataFrame:
    """Name the columns of a Kafka source as log records have them everywhere."""
    return log.select(
        F.lit(generation).alias("topic_generation"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("timestamp").alias("kafka_timestamp"),
        F.col("value").alias("payload"),
    )


def wait(
    query: StreamingQuery,
    flow: Flow,
    stop: Event,
    *,
    beat: Callable[[], None],
    upkeep: Callable[[], None],
) -> None:
    """Wait until the query ends or a stop is asked for; then stop it between two batches.

    Args:
        query: The running query.
        flow: Whose query it is.
        stop: Set when it shall stop.
        beat: Called while the query makes progress or has nothing to do.
        upkeep: Called once a minute.

    Raises:
        pyspark.errors.StreamingQueryException: The query failed.
    """
    last_batch, kept_up_at = None, monotonic()
    reports = metrics.BatchReports(flow.topic, flow.tables, _freshness)
    for table in flow.tables:
        metrics.EXPIRED.labels(table=table)  # from 0 on
    while not stop.is_set():
        if query.awaitTermination(POLL_SECONDS):
            return
        doing = query.status["message"]
        progress = query.lastProgress
        batch = progress["timestamp"] if progress else None
        if progress and batch != last_batch:
            _log.debug("progress", events=progress["numInputRows"], **progress["durationMs"])
        reports.look(query, doing)
        if batch != last_batch or doing.startswith("Waiting"):
            last_batch = batch
            beat()
        if monotonic() - kept_up_at > EXPIRE_EVERY_SECONDS:
            upkeep()
            kept_up_at = monotonic()
    query.stop()
