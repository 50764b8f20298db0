"""The lander against a real broker and a real catalog: exact through crashes and rivals."""

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest
from landing import (
    CODEC,
    DEADLINE_SECONDS,
    TRADES_TABLE,
    Sent,
    assert_exact,
    land,
    places,
    wait_for,
)

from ingestion.lander.cli import PROCESS
from ingestion.lander.commits import BronzeTable, FencedError
from ingestion.lander.lander import Lander
from ingestion.lander.writer import DEAD_LETTERS_TABLE
from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import beat_path
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.progress import read_progress
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

LAND = [sys.executable, "-c", "from ingestion.lander.cli import app; app()", "land"]


def test_once_lands_everything_and_nothing_twice(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(3_000))
    first = land(lake)
    assert first.events == len(sent.of(TRADES_TOPIC, good=True))
    assert_exact(lake, sent)
    table = load_catalog(lake).load_table(TRADES_TABLE)
    before = read_progress(table)
    rows = {row["kafka_offset"]: row for row in table.scan().to_arrow().to_pylist()}
    assert before is not None
    assert all(row["ingested_at"] < before.ingested_through for row in rows.values())
    decoded = [CODEC.event_time_of(row["payload"]) for row in rows.values()]
    assert [at for _, at in decoded] == [
        (row["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        for row in rows.values()
    ]

    again = land(lake)
    assert (again.events, again.dead_letters) == (0, 0)
    after = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
    assert after is not None
    assert after.offsets == before.offsets
    assert after.ingested_through > before.ingested_through

    sent.send(range(3_000, 3_500))
    land(lake)
    assert_exact(lake, sent)
    reasons = load_catalog(lake).load_table(DEAD_LETTERS_TABLE).scan().to_arrow()["reason"]
    assert set(reasons.to_pylist()) == {
        "malformed_json",
        "empty_payload",
        "bad_magic_byte",
        "truncated_payload",
    }


def test_kill_at_random_moments_loses_and_doubles_nothing(lake: Settings) -> None:
    sent, chance = Sent(lake), random.Random(7)
    stop = Event()

    def produce() -> None:
        start = 0
        while not stop.wait(0.02):
            sent.send(range(start, start + 400))
            start += 400

    def offsets() -> object:
        progress = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
        return None if progress is None else dict(progress.offsets)

    environ = {"LAKEHOUSE_HOME": str(lake.home), "LAKEHOUSE_LANDER_COMMIT_SECONDS": "0.02"}
    environ["LAKEHOUSE_KAFKA_BOOTSTRAP"] = lake.bootstrap_servers
    producer = Thread(target=produce)
    producer.start()
    try:
        for _ in range(5):
            before = offsets()
            process = subprocess.Popen(LAND, env=environ, stderr=subprocess.DEVNULL)
            try:
                wait_for(lambda seen=before: offsets() != seen, "the lander commits")
                time.sleep(chance.uniform(0, 0.3))  # the random moment itself
            finally:
                process.kill()
                process.wait()
    finally:
        stop.set()
        producer.join()
    land(lake)
    assert_exact(lake, sent)


def test_a_crash_between_dead_letters_and_events_doubles_neither(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(lake)
    sent.send(range(700))
    original = BronzeTable.append

    def crash(self: BronzeTable, rows: object, end: object) -> None:
        if self.name == TRADES_TABLE and len(rows):  # type: ignore[arg-type]
            raise KeyboardInterrupt
        original(self, rows, end)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(BronzeTable, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            land(lake)
    assert places(load_catalog(lake), DEAD_LETTERS_TABLE)
    assert not places(load_catalog(lake), TRADES_TABLE)
    sent.send(range(700, 900))
    land(lake)
    assert_exact(lake, sent)


def test_termination_commits_what_was_read_and_exits_cleanly(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1_000))
    environ = {
        "LAKEHOUSE_HOME": str(lake.home),
        "LAKEHOUSE_KAFKA_BOOTSTRAP": lake.bootstrap_servers,
        "LAKEHOUSE_LANDER_COMMIT_SECONDS": "3600",
        "LAKEHOUSE_LOG_LEVEL": "DEBUG",
    }
    process = subprocess.Popen(LAND, env=environ, stderr=subprocess.DEVNULL)
    try:
        beat = beat_path(lake.home, PROCESS)
        wait_for(beat.exists, "the lander beats")
        # It beats after a read, once a second at most: by the later ones it has long connected.
        for _ in range(2):
            last = beat.stat().st_mtime_ns
            wait_for(lambda seen=last: beat.stat().st_mtime_ns > seen, "the lander goes on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    progress = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
    assert progress is not None
    assert sum(progress.offsets.values()) > 0
    land(lake)
    assert_exact(lake, sent)


def test_of_two_landers_one_is_fenced(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 500))
    first, second = (Lander(lake, load_catalog(lake)) for _ in range(2))
    first.run(once=True, stop=Event())
    with pytest.raises(FencedError, match=r"bronze\.dead_letters|bronze\.market_trades"):
        second.run(once=True, stop=Event())
    assert_exact(lake, sent)
