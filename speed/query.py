"""The streaming query: from the topic, from where it stopped, into the speed layer."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from threading import Event
from time import monotonic

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from lakehouse.coverage import batch_coverage
from lakehouse.errors import LakehouseError, first_line
from lakehouse.expiry import EXPIRE_EVERY_SECONDS, expire
from lakehouse.kafka import GROUP_PREFIX, BrokerError, jvm_client_settings
from lakehouse.log_starts import current_generation, starting_offsets
from lakehouse.poison import poison_events
from lakehouse.positions import LogPosition
from lakehouse.settings import Settings
from lakehouse.tracing import micro_batch_span
from schemas import landed_topics
from schemas.registry import schema_registry
from speed import metrics
from speed.flow import Flow, observations
from speed.isolation import Isolation, isolate
from speed.patience import Patience
from speed.retraction import take_back, to_take_back

# Catching up in bites keeps a micro-batch, and what a crash repeats, to seconds.
MAX_EVENTS_PER_BATCH = 100_000
# How soon a stop request is noticed; the query itself does not wait for it.
POLL_SECONDS = 0.5
# Batch looks for poison for minutes before it publishes anything without it.
POISON_EVERY_SECONDS = 10.0
# After repeating a batch that a crash cut short, Spark 4.1's Kafka source tells how far it is
# behind before it has looked (SPARK-55271). The batch is committed by then; the query is not.
REPEATED_BATCH_FAULT = 'the return value of "scala.Option.get()" is null'

_freshness = metrics.Freshness()

_log = structlog.get_logger(__name__)


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
    query goes on from its last commit. What fails because of its data is tried ``ATTEMPTS`` times;
    then the events that Spark cannot compute with are set aside, and the query goes on without
    them. Our own errors are decisions, and end it at once.

    Args:
        session: Returns the Spark session, another one if the last has died.
        settings: Addresses, checkpoint folder and trigger.
        catalog: The lake's catalog.
        flow: What to make of which topic.
        once: End at the end of the log as it is now; an outage ends it, too.
        stop: Set when it shall stop.
        beat: Called while the query makes progress or has nothing to do.

    Raises:
        LakehouseError: One of our own.
        Exception: The last failure, when there was no progress for ``OUTAGE_SECONDS``, or what
            Spark cannot compute is not to be isolated.
    """
    patience = Patience(once=once)

    def note() -> None:
        patience.renew()
        beat()

    has_started = False
    while not stop.is_set():
        isolating = patience.asks_to_isolate
        try:
            query = start_query(
                session(),
                settings,
                catalog,
                flow,
                once=once or isolating,
                isolation=partial(isolate, catalog, flow, beat=note) if isolating else None,
            )
            has_started = True
            is_outdated = wait(
                query,
                flow,
                stop,
                beat=note,
                upkeep=lambda: expire_history(catalog, flow),
                # Who goes to the log's end takes back what there is when the next one starts.
                asks_to_restart=lambda: not once and bool(to_take_back(catalog, flow.topic)),
            )
        except Exception as error:
            # A query that starts again may meet a broker that is away, as one that runs may.
            is_outage = has_started and isinstance(error, BrokerError)
            if isinstance(error, LakehouseError) and not is_outage:
                raise
            if REPEATED_BATCH_FAULT in str(error):
                _log.info("going on behind the repeated batch", spark_issue="SPARK-55271")
                continue
            seconds = patience.wait_after(error)
            metrics.RESTARTS.inc()
            _log.warning(
                "starting again",
                topic=flow.topic,
                wait_seconds=round(seconds, 1),
                error=first_line(error),
            )
            stop.wait(seconds)
        else:
            if once or not (isolating or is_outdated):
                return
            patience.isolated()


def start_query(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    flow: Flow,
    *,
    once: bool,
    isolation: Isolation | None = None,
) -> StreamingQuery:
    """Start a flow's query on its topic, once no row is made of what batch has set aside.

    Args:
        spark: The session.
        settings: Addresses, checkpoint folder and trigger.
        catalog: The lake's catalog.
        flow: What to make of which topic.
        once: Stop at the end of the log as it is now, instead of going on.
        isolation: Is given what processes log records, and those of each micro-batch, the one that
            failed first; without it they are processed as they come.
    """
    topic = flow.topic
    generation = current_generation(settings, catalog.load_table(landed_topics()[topic]), topic)
    checkpoint = settings.checkpoints / "speed" / f"{topic}.g{generation}"
    take_back(spark, catalog, flow, checkpoint)
    source = (
        spark.readStream.format("kafka")
        .options(**{f"kafka.{key}": value for key, value in jvm_client_settings(settings).items()})
        .option("groupIdPrefix", f"{GROUP_PREFIX}speed")
        .option("subscribe", topic)
        .option("maxOffsetsPerTrigger", MAX_EVENTS_PER_BATCH)
        .option("failOnDataLoss", "true")
    )
    if not (checkpoint / "offsets").exists():
        # Where batch's coverage ends: what lies before is in silver, all of it.
        origin = LogPosition(generation, 0).encode()
        covered = batch_coverage(catalog, flow.name, topic, origin)
        starts = starting_offsets(settings, topic, generation, covered)
        stated = {topic: {str(partition): offset for partition, offset in starts.items()}}
        source = source.option("startingOffsets", json.dumps(stated))
    records = records_of(source.load(), generation).observe(
        metrics.OBSERVATION, *metrics.observed_columns()
    )
    observe = partial(
        observations,
        flow,
        registry=schema_registry(settings),
        max_payload_bytes=settings.max_payload_bytes,
        poison=poison_events(catalog, topic).keys(),
    )
    if isolation is None:
        stream, process = observe(records), flow.fold(spark).process
    else:
        # A fold of its own for each part: one that failed may remember what nobody shall know of.
        stream = records
        process = partial(isolation, lambda part: flow.fold(spark).process(observe(part)))

    def process_traced(micro_batch: DataFrame, number: int) -> None:
        with micro_batch_span(topic, number):
            process(micro_batch)

    writer = (
        stream.writeStream.queryName(f"speed_{topic}")
        .option("checkpointLocation", checkpoint.as_uri())
        .foreachBatch(process_traced)
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
    asks_to_restart: Callable[[], bool],
) -> bool:
    """Wait until the query ends or a stop is asked for; then stop it between two batches.

    Args:
        query: The running query.
        flow: Whose query it is.
        stop: Set when it shall stop.
        beat: Called while the query makes progress or has nothing to do.
        upkeep: Called once a minute.
        asks_to_restart: Called every few seconds: whether the query must start anew.

    Returns:
        Whether it must.

    Raises:
        pyspark.errors.StreamingQueryException: The query failed.
    """
    last_batch, kept_up_at, asked_at = None, monotonic(), monotonic()
    is_outdated = False
    reports = metrics.BatchReports(flow.topic, flow.tables, _freshness)
    for table in flow.tables:
        metrics.EXPIRED.labels(table=table)  # from 0 on
    try:
        while not (stop.is_set() or is_outdated):
            if query.awaitTermination(POLL_SECONDS):
                return False
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
            if monotonic() - asked_at > POISON_EVERY_SECONDS:
                is_outdated = asks_to_restart()
                asked_at = monotonic()
    finally:
        query.stop()  # also when something else failed: another one is to begin
    return is_outdated
