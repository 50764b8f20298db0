"""A lake with a real broker in a home of its own, as tests drive it from outside.

Everything goes through the command line, in processes that a test may kill.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.broker import PROCESS, start_broker
from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import beat_path, last_beat
from lakehouse.kafka import TRADES_TOPIC, ClientSettings, client_settings, ensure_topics
from lakehouse.processes import ProcessRecord, Supervisor
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine

# A Spark driver takes ten seconds to its first micro-batch when idle, and a loaded CI machine
# several times that.
DEADLINE_SECONDS = 180.0
LAKEHOUSE = (sys.executable, "-m", "lakehouse")


class LogRecord(NamedTuple):
    """One message of a topic, as a plain consumer reads it."""

    partition: int
    offset: int
    timestamp: datetime
    payload: bytes | None


@dataclass
class EmbeddedLake:
    """One home: its broker runs, its topics and tables are there."""

    poll_seconds: ClassVar[float] = 0.02

    settings: Settings
    catalog: Catalog
    supervisor: Supervisor

    def start(
        self,
        verb: str,
        *options: str,
        program: Sequence[str] = LAKEHOUSE,
        environ: Mapping[str, str] | None = None,
    ) -> ProcessRecord:
        """Start a long-running verb (``land``, ``speed``) and return at once."""
        beat_path(self.settings.home, verb).unlink(missing_ok=True)
        return self.supervisor.start(
            verb, [*program, verb, *options], environ={**self._environ(), **(environ or {})}
        )

    def is_ready(self, verb: str) -> bool:
        """Whether a verb that was started has given a sign of life since."""
        return last_beat(self.settings.home, verb) is not None

    def kill(self, verb: str) -> None:
        """End a process and all that it started without a word (``kill -9``)."""
        record = self.supervisor.find(verb)
        assert record is not None
        assert record.alive, f"{verb} ended by itself:\n{self.tail(verb)}"
        os.killpg(record.pid, signal.SIGKILL)
        self.supervisor.stop(verb)  # buries it

    def tail(self, verb: str) -> str:
        """Return the end of a process's log."""
        return "\n".join(self.supervisor.log(verb).read_text().splitlines()[-30:])

    def spawn(
        self,
        *words: str,
        program: Sequence[str] = LAKEHOUSE,
        environ: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a command in a process group of its own; whoever calls this ends it."""
        log = (self.supervisor.logs / f"{words[0]}.log").open("ab")
        with log:
            return subprocess.Popen(
                [*program, *words],
                env={**os.environ, **self._environ(), **(environ or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *words: str, deadline_seconds: float = DEADLINE_SECONDS) -> str:
        """Run a command to its end and return what it printed; a failure is an error."""
        with subprocess.Popen(
            [*LAKEHOUSE, *words],
            env=os.environ | self._environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, errors = process.communicate(timeout=deadline_seconds)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == 0, f"lakehouse {' '.join(words)}:\n{printed}\n{errors}"
        return printed

    def log(self, topic: str = TRADES_TOPIC) -> list[LogRecord]:
        """Read a topic from its beginning to its present end."""
        return read_topic(client_settings(self.settings), topic)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run SQL over the lake's tables and merged views."""
        engine = SqlEngine(self.catalog)
        try:
            rows: list[dict[str, Any]] = engine.query(query).to_pylist()
        finally:
            engine.close()
        return rows

    def ingested_through(self) -> datetime:
        """Return the time up to which bronze is complete."""
        progress = read_progress(self.catalog.load_table("bronze.market_trades"))
        assert progress is not None
        return progress.ingested_through

    def wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> float:
        """Wait for a condition; return the seconds that it took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < deadline_seconds, f"not in time: {what}"
            time.sleep(self.poll_seconds)
        return time.monotonic() - started

    def _environ(self) -> dict[str, str]:
        stated = self.settings.model_dump(exclude_defaults=True)
        return {f"LAKEHOUSE_{name.upper()}": str(value) for name, value in stated.items()}


@contextmanager
def embedded_lake(settings: Settings) -> Iterator[EmbeddedLake]:
    """Start a broker in a home, make topics and tables; stop whatever runs there at the end.

    Tables that are there already, since the catalog is shared with other tests, are made anew.
    """
    supervisor = Supervisor(settings.home)
    try:
        start_broker(settings, supervisor)
        ensure_topics(settings)
        catalog = load_catalog(settings)
        for name in schemas.contracts():
            if catalog.table_exists(name):
                catalog.drop_table(name)
        tables.apply(catalog)
        yield EmbeddedLake(settings, catalog, supervisor)
    finally:
        for record in supervisor.records():
            if record.name != PROCESS:
                supervisor.stop(record.name, grace_seconds=0)
        supervisor.stop(PROCESS)


def read_topic(client: ClientSettings, topic: str) -> list[LogRecord]:
    """Read a topic from its beginning to its present end, by partition and offset."""
    consumer = Consumer(
        {
            **client,
            "group.id": "lakehouse-test-reader",
            "enable.auto.commit": False,
            "fetch.max.bytes": 64 * 1024 * 1024,
            "max.partition.fetch.bytes": 32 * 1024 * 1024,
        }
    )
    admin = AdminClient({**client})
    partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)[1]
            for partition in partitions
        }
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        return sorted(_messages(consumer, sum(ends.values())))
    finally:
        consumer.close()


def _messages(consumer: Consumer, count: int) -> Iterator[LogRecord]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while count:
        assert time.monotonic() < deadline, f"{count} messages of the log cannot be read"
        for message in consumer.consume(min(count, 1000), timeout=1.0):
            assert message.error() is None
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert offset is not None
            at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            yield LogRecord(partition, offset, at, value)
            count -= 1


def verdicts(reconciled: str) -> Sequence[str]:
    """Return the verdicts that ``lakehouse reconcile --json`` printed, one a table."""
    return [record["verdict"] for record in json.loads(reconciled)]
