"""``lakehouse crm simulate``, with a log that takes all at once."""

import json
import time
from pathlib import Path

import pytest
from recording_sinks import RecordingClient
from typer.testing import CliRunner

from ingestion.crm import cli
from ingestion.producer import EventProducer
from ingestion.sending import Prepare
from lakehouse.kafka import CUSTOMERS_TOPIC
from lakehouse.settings import Settings


class TimedClient(RecordingClient):
    """Also remembers when it was given each message, and how often somebody waited."""

    def __init__(self) -> None:
        super().__init__()
        self.connected_at = 0.0
        self.sent_at: list[float] = []
        self.waits = 0

    def produce(self, *arguments: object, **more: object) -> None:
        super().produce(*arguments, **more)  # type: ignore[arg-type]
        self.sent_at.append(time.monotonic())

    def poll(self, timeout: float) -> int:
        self.waits += timeout > 0
        return super().poll(timeout)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TimedClient:
    client = TimedClient()

    def connected(topic: str, key: object, *, prepared: Prepare) -> EventProducer:
        client.connected_at = time.monotonic()
        return EventProducer(
            client,
            lambda change: json.dumps(prepared(change), default=bytes.hex).encode(),
            max_payload_bytes=100_000,
            topic=topic,
            key=key,  # type: ignore[arg-type]
        )

    monkeypatch.setattr(cli, "connected_producer", connected)
    monkeypatch.setattr(cli, "get_settings", lambda _role: Settings(home=tmp_path / "home"))
    return client


def simulate(*words: str) -> dict[str, float]:
    result = CliRunner().invoke(cli.app, ["simulate", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    summary: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return summary


def test_changes_are_sent_no_faster_than_the_rate(log: TimedClient) -> None:
    rate = 25
    summary = simulate("--customers", "1", "--changes", "9", "--rate", str(rate))
    assert summary["events"] == len(log.sent) == 10
    assert {sent.topic for sent in log.sent} == {CUSTOMERS_TOPIC}
    since = (at - log.connected_at for at in log.sent_at)
    assert [number for number, seconds in enumerate(since, 1) if seconds < number / rate] == []


def test_the_same_start_and_seed_make_the_same_changes(log: TimedClient) -> None:
    words = ("--customers", "3", "--changes", "20", "--start", "2024-08-01T00:00:00", "--seed", "4")
    for _ in range(2):
        simulate(*words)
    assert log.sent[:23] == log.sent[23:]
    assert log.waits == 0, "without a rate nobody waits"
