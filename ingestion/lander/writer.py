"""Commits batches: dead letters first, then events, each with the offsets that account for them.

A crash between the two leaves dead letters whose events' offsets were not recorded yet. They are
met again after the restart and left out, because the dead letters' own progress covers them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from pyiceberg.catalog import Catalog

from ingestion.lander import metrics
from ingestion.lander.columns import stamp
from ingestion.lander.commits import BronzeTable
from ingestion.lander.log import KafkaLog, TopicChangedError, TopicState, resume
from ingestion.lander.retries import persist
from lakehouse.expiry import EXPIRE_EVERY_SECONDS, expire
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC
from lakehouse.progress import Progress

TRADES_TABLE = "bronze.market_trades"
DEAD_LETTERS_TABLE = "bronze.dead_letters"
# Dead letters are rare; this keeps the snapshot with their progress young enough for any expiry.
DEAD_LETTERS_HEARTBEAT = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the present, UTC."""
    return datetime.now(UTC)


@dataclass
class Landed:
    """What one lander has committed."""

    events: int = 0
    dead_letters: int = 0
    commits: int = 0


@dataclass
class Batch:
    """What has been read since the last commit, and up to where.

    Attributes:
        accepted: Rows for ``bronze.market_trades``.
        refused: Events of ``market.trades`` that nobody can decode.
        frames: What producers had refused.
        trades_next: For each partition of ``market.trades``, the offset after the last one read.
        frames_next: The same of ``ingest.dead_letters``.
    """

    accepted: list[pa.Table] = field(default_factory=list)
    refused: list[pa.Table] = field(default_factory=list)
    frames: list[pa.Table] = field(default_factory=list)
    trades_next: Mapping[int, int] = field(default_factory=dict)
    frames_next: Mapping[int, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    opened_at: float | None = None

    def count(self, columns: pa.Table) -> None:
        """Account for messages that are added."""
        self.rows += len(columns)
        self.size_bytes += columns.nbytes
        self.opened_at = self.opened_at or monotonic()


class BronzeWriter:
    """Owns the progress of one lander.

    Attributes:
        trades: Progress of ``market.trades``.
        frames: Progress of ``ingest.dead_letters``.
        found: The topics as they were at the start.

    Raises:
        TopicMissingError: A topic does not exist.
        TopicChangedError: A topic is not the one that the tables know.
        EventsLostError: Kafka has deleted events that were never landed.
    """

    def __init__(
        self,
        catalog: Catalog,
        kafka: KafkaLog,
        *,
        new_generation: bool = False,
        accept_loss: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.landed = Landed()
        self.found: dict[str, TopicState] = {}
        self._kafka = kafka
        self._clock = clock
        self._events = BronzeTable(catalog, TRADES_TABLE, topics=(TRADES_TOPIC,))
        self._dead = BronzeTable(
            catalog, DEAD_LETTERS_TABLE, topics=(TRADES_TOPIC, DEAD_LETTERS_TOPIC)
        )

        def resumed(recorded: Progress | None, topic: str) -> Progress:
            state = persist(f"describe topic {topic}", kafka.state, topic)
            self.found[topic] = state
            return resume(
                recorded,
                state,
                now=clock(),
                new_generation=new_generation,
                accept_loss=accept_loss,
            )

        self.trades = resumed(self._events.progress[TRADES_TOPIC], TRADES_TOPIC)
        self.frames = resumed(self._dead.progress[DEAD_LETTERS_TOPIC], DEAD_LETTERS_TOPIC)
        self._refused = _refused_so_far(self._dead.progress[TRADES_TOPIC], self.trades)
        self._expired_at = monotonic()

    def write(self, batch: Batch) -> None:
        """Commit a batch; an empty one moves only the time up to which bronze is complete.

        Raises:
            FencedError: Another lander is at work.
            TopicChangedError: A topic was made again while it was being read.
            UnavailableError: Kafka, the catalog or the store stayed away for too long.
        """
        self.check_incarnations()
        known = (self.trades, self.frames, self._refused)
        now = max(self._clock(), *(progress.ingested_through for progress in known))
        # Rows are stamped with ``now``, so whatever comes later is stamped later.
        through = now + MICROSECOND if batch.rows else now
        dead_letters = self._write_dead_letters(batch, now, through)
        events = self._write_events(batch, now, through)
        self.landed.commits += 1
        log.debug(
            "committed",
            events=events,
            dead_letters=dead_letters,
            offsets=dict(self.trades.offsets),
            ingested_through=through.isoformat(),
        )
        self._expire(now)

    def check_incarnations(self) -> None:
        """See that all that was read came from the topics we think: an id never comes back.

        Raises:
            TopicChangedError: A topic was made again.
        """
        for progress in (self.trades, self.frames):
            topic = progress.topic
            found = persist(f"describe topic {topic}", self._kafka.topic_id, topic)
            if found != progress.topic_id:
                raise TopicChangedError(
                    f"topic {topic} was made again while it was being landed: its id was "
                    f"{progress.topic_id}, is {found}. What was read since the last commit was "
                    "dropped; if this was on purpose, run `lakehouse land --new-generation`."
                )

    def _write_dead_letters(self, batch: Batch, now: datetime, through: datetime) -> int:
        schema = self._dead.schema
        frames = [
            stamp(rows, schema, ingested_at=now, topic_generation=self.frames.generation)
            for rows in batch.frames
        ]
        refused = [
            stamp(
                _not_before(rows, self._refused.offsets),
                schema,
                ingested_at=now,
                topic_generation=self.trades.generation,
            )
            for rows in batch.refused
        ]
        rows = pa.concat_tables([schema.empty_table(), *refused, *frames])
        end = {
            TRADES_TOPIC: _moved(self._refused, batch.trades_next, through),
            DEAD_LETTERS_TOPIC: _moved(self.frames, batch.frames_next, through),
        }
        if not (len(rows) or self._dead_letters_are_due(end[DEAD_LETTERS_TOPIC])):
            return 0
        self._dead.append(rows, end)
        self._refused, self.frames = end[TRADES_TOPIC], end[DEAD_LETTERS_TOPIC]
        self.landed.dead_letters += len(rows)
        metrics.count_dead_letters(rows)
        return len(rows)

    def _dead_letters_are_due(self, frames: Progress) -> bool:
        recorded = self._dead.progress[DEAD_LETTERS_TOPIC]
        if recorded is None or self._dead.progress[TRADES_TOPIC] is None:
            return True
        if replace(recorded, ingested_through=frames.ingested_through) != frames:
            return True
        return frames.ingested_through - recorded.ingested_through > DEAD_LETTERS_HEARTBEAT

    def _write_events(self, batch: Batch, now: datetime, through: datetime) -> int:
        schema = self._events.schema
        rows = pa.concat_tables(
            [
                schema.empty_table(),
                *(
                    stamp(rows, schema, ingested_at=now, topic_generation=self.trades.generation)
                    for rows in batch.accepted
                ),
            ]
        )
        end = _moved(self.trades, batch.trades_next, through)
        self._events.append(rows, {TRADES_TOPIC: end})
        self.trades = end
        self.landed.events += len(rows)
        metrics.count_events(rows, TRADES_TOPIC)
        return len(rows)

    def _expire(self, now: datetime) -> None:
        if monotonic() - self._expired_at < EXPIRE_EVERY_SECONDS:
            return
        self._expired_at = monotonic()
        for table in (self._events, self._dead):
            metrics.EXPIRED.labels(table=table.name).inc(expire(table.load(), now=now))


def _refused_so_far(recorded: Progress | None, trades: Progress) -> Progress:
    """Return up to where refused events have been written, of this incarnation of the topic."""
    if recorded is None:
        return trades
    if (recorded.topic_id, recorded.generation) != (trades.topic_id, trades.generation):
        return replace(trades, ingested_through=recorded.ingested_through)
    return recorded


def _moved(progress: Progress, offsets: Mapping[int, int], through: datetime) -> Progress:
    """Return the progress after a batch; offsets never go back."""
    ahead = {p: max(offset, offsets.get(p, 0)) for p, offset in progress.offsets.items()}
    return replace(progress, offsets=ahead, ingested_through=through)


def _not_before(rows: pa.Table, offsets: Mapping[int, int]) -> pa.Table:
    """Drop rows below the given offsets of their partitions."""
    floors = pa.array([offsets[p] for p in rows["kafka_partition"].to_pylist()], pa.int64())
    return rows.filter(pc.greater_equal(rows["kafka_offset"], floors))
