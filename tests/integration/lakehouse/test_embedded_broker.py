"""The real broker: started, stopped and started again, with its log and its topics."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka import Consumer, Producer

from lakehouse.broker import PROCESS, start_broker
from lakehouse.kafka import TRADES_TOPIC, TopicError, ensure_topics, topic_id
from lakehouse.processes import Supervisor
from lakehouse.settings import NotRunningError, Settings

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 60.0


@pytest.fixture
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings.home)
    yield supervisor
    supervisor.stop(PROCESS)


def test_log_topics_and_ids_outlive_a_restart(settings: Settings, supervisor: Supervisor) -> None:
    with pytest.raises(NotRunningError, match="lakehouse up"):
        _ = settings.bootstrap_servers
    start_broker(settings, supervisor)
    with pytest.raises(TopicError, match="there is no topic"):
        topic_id(settings, TRADES_TOPIC)
    ensure_topics(settings)
    ensure_topics(settings)  # what is there already is left as it is
    identity = topic_id(settings, TRADES_TOPIC)
    with pytest.raises(TopicError, match=r"has 4 partitions, the settings say 7.*backfill"):
        ensure_topics(settings.model_copy(update={"topic_partitions": 7}))

    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    oversized = b"x" * 10_000_000  # must arrive, so that it can become a dead letter
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "message.max.bytes": 16_000_000}
    )
    producer.produce(TRADES_TOPIC, oversized, partition=0)
    assert producer.flush(DEADLINE_SECONDS) == 0

    assert supervisor.stop(PROCESS)
    start_broker(settings, supervisor)
    assert topic_id(settings, TRADES_TOPIC) == identity
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "test",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([TRADES_TOPIC])
    message = consumer.poll(DEADLINE_SECONDS)
    consumer.close()
    assert message is not None
    assert message.value() == oversized


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_interrupted_leaves_nothing_running(settings: Settings, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "lakehouse", "up", "--only", "kafka"]
    environ = os.environ | {"LAKEHOUSE_HOME": str(settings.home)}
    with subprocess.Popen(
        command, env=environ, stderr=subprocess.DEVNULL, start_new_session=True
    ) as command_run:
        record_file = settings.home / "run" / "kafka.json"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not record_file.exists():
            assert time.monotonic() < deadline, "the broker was never started"
            time.sleep(0.01)
        command_run.send_signal(number)
        assert command_run.wait(DEADLINE_SECONDS) != 0
    home = str(settings.home)
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if home in str(p.info["cmdline"])]
    assert left == []
    assert Supervisor(settings.home).records() == []
