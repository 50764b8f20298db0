"""Commits batches: dead letters first, then events, each with the offsets that account for them.

A crash between the two leaves dead letters whose events' offsets were not recorded yet. They are
met again after the restart and left out, because the dead letters' own progress covers them.
"""

from collections import defaultdict
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
from lakehouse.kafka import DEAD_LETTERS_TOPIC
from lakehouse.progress import Progress

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
        accepted: By topic, rows for its bronze table.
        refused: By topic, events that nobody can decode.
        frames: What producers had refused.
        next: By topic, for each partition, the offset after the last message that was read.
    """

    accepted: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    frames: list[pa.Table] = field(default_factory=list)
    next: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
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

    Args:
        catalog: The catalog named ``lake``, with the bronze tables in it.
        kafka: Answers what the topics are now.
        tables: By topic of events, its bronze table.
        heartbeat: A table without news says so often up to when it is complete.
        new_generation: Take a topic that has changed for a new incarnation.
        accept_loss: Go on behind events that Kafka has deleted before they were landed.
        clock: Tells the time, UTC.

    Attributes:
        progress: By topic, that of the dead letters included, up to where it is landed.
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
        tables: Mapping[str, str],
        *,
        heartbeat: timedelta,
        new_generation: bool = False,
        accept_loss: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.landed = Landed()
        self.found: dict[str, TopicState] = {}
        self.progress: dict[str, Progress] = {}
        self._kafka = kafka
        self._heartbeat = heartbeat
        self._clock = clock
        self._events = {
            topic: BronzeTable(catalog, table, topics=(topic,)) for topic, table in tables.items()
        }
        self._dead = BronzeTable(catalog, DEAD_LETTERS_TABLE, topics=(*tables, DEAD_LETTERS_TOPIC))
        recorded = {topic: table.progress[topic] for topic, table in self._events.items()}
        recorded[DEAD_LETTERS_TOPIC] = self._dead.progress[DEAD_LETTERS_TOPIC]
        for topic, progress in recorded.items():
            self.found[topic] = persist(f"describe topic {topic}", kafka.state, topic)
            self.progress[topic] = resume(
                progress,
                self.found[topic],
                now=clock(),
                new_generation=new_generation,
                accept_loss=accept_loss,
            )
        self._refused = {
            topic: _refused_so_far(self._dead.progress[topic], self.progress[topic])
            for topic in tables
        }
        self._expired_at = monotonic()

    def write(self, batch: Batch) -> None:
        """Commit a batch; an empty one moves only the time up to which bronze is complete.

        Raises:
            FencedError: Another lander is at work.
            TopicChangedError: A topic was made again while it was being read.
            UnavailableError: Kafka, the catalog or the store stayed away for too long.
        """
        self.check_incarnations()
        known = (*self.progress.values(), *self._refused.values())
        now = max(self._clock(), *(progress.ingested_through for progress in known))
        # Rows are stamped with ``now``, so whatever comes later is stamped later.
        through = now + MICROSECOND if batch.rows else now
        dead_letters = self._write_dead_letters(batch, now, through)
        events = sum(self._write_events(topic, batch, now, through) for topic in self._events)
        self.landed.commits += 1
        log.debug(
            "committed",
            events=events,
            dead_letters=dead_letters,
            offsets={topic: dict(self.progress[topic].offsets) for topic in self._events},
            ingested_through=through.isoformat(),
        )
        self._expire(now)

    def check_incarnations(self) -> None:
        """See that all that was read came from the topics we think: an id never comes back.

        Raises:
            TopicChangedError: A topic was made again.
        """
        found = persist("describe the topics", self._kafka.topic_ids, tuple(self.progress))
        for topic, progress in self.progress.items():
            if found[topic] != progress.topic_id:
                raise TopicChangedError(
                    f"topic {topic} was made again while it was being landed: its id was "
                    f"{progress.topic_id}, is {found[topic]}. What was read since the last commit "
                    "was dropped; if this was on purpose, run `lakehouse land --new-generation`."
                )

    def _write_dead_letters(self, batch: Batch, now: datetime, through: datetime) -> int:
        schema = self._dead.schema
        frames = self.progress[DEAD_LETTERS_TOPIC]
        found = [
            stamp(rows, schema, ingested_at=now, topic_generation=frames.generation)
            for rows in batch.frames
        ]
        for topic, refused in batch.refused.items():
            found += [
                stamp(
                    _not_before(rows, self._refused[topic].offsets),
                    schema,
                    ingested_at=now,
                    topic_generation=self.progress[topic].generation,
                )
                for rows in refused
            ]
        rows = pa.concat_tables([schema.empty_table(), *found])
        end = {
            topic: _moved(progress, batch.next.get(topic, {}), through)
            for topic, progress in {**self._refused, DEAD_LETTERS_TOPIC: frames}.items()
        }
        if not (len(rows) or self._dead_letters_are_due(end[DEAD_LETTERS_TOPIC])):
            return 0
        self._dead.append(rows, end)
        self.progress[DEAD_LETTERS_TOPIC] = end.pop(DEAD_LETTERS_TOPIC)
        self._refused = end
        self.landed.dead_letters += len(rows)
        metrics.count_dead_letters(rows)
        return len(rows)

    def _dead_letters_are_due(self, frames: Progress) -> bool:
        recorded = self._dead.progress[DEAD_LETTERS_TOPIC]
        if recorded is None or None in self._dead.progress.values():
            return True
        if replace(recorded, ingested_through=frames.ingested_through) != frames:
            return True
        return frames.ingested_through - recorded.ingested_through > DEAD_LETTERS_HEARTBEAT

    def _write_events(self, topic: str, batch: Batch, now: datetime, through: datetime) -> int:
        table, progress = self._events[topic], self.progress[topic]
        end = _moved(progress, batch.next.get(topic, {}), through)
        if batch.rows and not self._is_due(progress, end):
            return 0
        rows = pa.concat_tables(
            [
                table.schema.empty_table(),
                *(
                    stamp(rows, table.schema, ingested_at=now, topic_generation=end.generation)
                    for rows in batch.accepted[topic]
                ),
            ]
        )
        table.append(rows, {topic: end})
        self.progress[topic] = end
        self.landed.events += len(rows)
        metrics.count_events(rows, topic)
        return len(rows)

    def _is_due(self, progress: Progress, end: Progress) -> bool:
        """Whether a table has news, or has not said for long up to when it is complete."""
        if progress.offsets != end.offsets:
            return True
        return end.ingested_through - progress.ingested_through >= self._heartbeat

    def _expire(self, now: datetime) -> None:
        if monotonic() - self._expired_at < EXPIRE_EVERY_SECONDS:
            return
        self._expired_at = monotonic()
        for table in (*self._events.values(), self._dead):
            metrics.EXPIRED.labels(table=table.name).inc(expire(table.load(), now=now))


def _refused_so_far(recorded: Progress | None, events: Progress) -> Progress:
    """Return up to where refused events have been written, of this incarnation of the topic."""
    if recorded is None:
        return events
    if (recorded.topic_id, recorded.generation) != (events.topic_id, events.generation):
        return replace(events, ingested_through=recorded.ingested_through)
    return recorded


def _moved(progress: Progress, offsets: Mapping[int, int], through: datetime) -> Progress:
    """Return the progress after a batch; offsets never go back."""
    ahead = {p: max(offset, offsets.get(p, 0)) for p, offset in progress.offsets.items()}
    return replace(progress, offsets=ahead, ingested_through=through)


def _not_before(rows: pa.Table, offsets: Mapping[int, int]) -> pa.Table:
    """Drop rows below the given offsets of their partitions."""
    floors = pa.array([offsets[p] for p in rows["kafka_partition"].to_pylist()], pa.int64())
    return rows.filter(pc.greater_equal(rows["kafka_offset"], floors))
