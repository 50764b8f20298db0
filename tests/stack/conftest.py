"""The lake that is watched: everything of ours runs, with real traffic, and Prometheus asks it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from confluent_kafka import Producer
from embedded_lake import EmbeddedLake, embedded_lake
from stack.monitoring import Prometheus, argv

from lakehouse.broker import TRADES_TOPIC
from lakehouse.monitoring import lay_out
from lakehouse.settings import Settings

VERBS = {"lander": "land", "speed": "speed", "metrics": "metrics"}
# Enough for every rate; the layers and Prometheus have two cores between them.
EVENTS_A_SECOND = "200"
# A second Spark driver beside the speed layer's: half a minute when idle, minutes under load.
BATCH_DEADLINE_SECONDS = 400.0


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that watches a lake; the one at ``PROMETHEUS_URL`` if that is set."""
    if url := os.environ.get("PROMETHEUS_URL"):
        yield Prometheus(url)
        return
    settings = Settings(
        home=tmp_path_factory.mktemp("watched"),
        spark_master="local[2]",
        spark_driver_memory="1g",
        topic_partitions=2,
    )
    with ExitStack() as stack:
        lake = stack.enter_context(embedded_lake(settings))
        yield _watched(lake, stack)


def _watched(lake: EmbeddedLake, stack: ExitStack) -> Prometheus:
    targets: dict[str, list[str]] = {}
    for job, verb in VERBS.items():
        port = lake.supervisor.port(f"{verb}-metrics")
        lake.start(verb, "--metrics-port", str(port))
        targets[job] = [f"127.0.0.1:{port}"]
    port = lake.supervisor.port("prometheus")
    targets["prometheus"] = [f"127.0.0.1:{port}"]
    folder = lake.settings.home / "prometheus"
    config = lay_out(folder, targets)
    lake.supervisor.start("prometheus", argv(config, folder / "data", port), port=port)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    lake.wait_until(prometheus.is_ready, "Prometheus is ready")
    for verb in VERBS.values():
        lake.wait_until(lambda verb=verb: lake.is_ready(verb), f"{verb} is ready")  # type: ignore[misc]
    load = lake.spawn("synth", "--rate", EVENTS_A_SECOND, "--seconds", "3600")
    stack.callback(load.wait)
    stack.callback(load.terminate)
    producer = Producer({"bootstrap.servers": lake.settings.bootstrap_servers})
    producer.produce(TRADES_TOPIC, key=b"nobody", value=b"no event")
    producer.flush(10)
    begun = lake.ingested_through()
    lake.wait_until(
        lambda: lake.ingested_through() > begun + timedelta(seconds=5), "some seconds have landed"
    )
    start, end = begun - timedelta(hours=1), lake.ingested_through()
    interval = ("--start", start.isoformat(), "--end", end.isoformat())
    for verb in ("batch", "reconcile"):
        lake.run(verb, *interval, deadline_seconds=BATCH_DEADLINE_SECONDS)
    return prometheus
