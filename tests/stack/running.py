"""The real stack, running natively in a home of its own, as tests drive it from outside."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import psutil
from embedded_lake import LAKEHOUSE, EmbeddedLake, LogRecord, read_topic

from ingestion.producer import EventProducer
from lakehouse.catalog import load_catalog
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import Supervisor
from lakehouse.settings import Role, Settings, roles_folder
from lakehouse.stack.installation import Installation
from lakehouse.stack.profile import components
from schemas.registry import schema_registry
from schemas.wire import EventCodec
from serving.trino_engine import TrinoEngine

UP_SECONDS = 600.0
LANDER = "land"
# The hours of ingestion that Airflow processes by schedule: those of the sample, across a day.
FIRST_HOUR = datetime(2024, 8, 8, 23, tzinfo=UTC)
LAST_HOUR = datetime(2024, 8, 9, 0, tzinfo=UTC)


@dataclass
class RunningStack(EmbeddedLake):
    """A stack's home; what is asked of a lake is asked of its real servers."""

    # A question takes its share of the cores from what it waits for.
    poll_seconds: ClassVar[float] = 1.0

    installation: Installation

    def role(self, role: Role) -> Settings:
        """Return the settings of a role."""
        return Settings(_env_file=roles_folder(self.settings.home) / f"{role}.env", **self._home())  # type: ignore[call-arg]

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run SQL in Trino."""
        engine = TrinoEngine(self.role("orchestration"))
        try:
            rows: list[dict[str, Any]] = engine.query(query).to_pylist()
        finally:
            engine.close()
        return rows

    def log(self, topic: str = TRADES_TOPIC) -> list[LogRecord]:
        """Read a topic from its beginning to its present end."""
        return read_topic(client_settings(self.role("ingest")), topic)

    def spark_applications(self) -> dict[str, set[str]]:
        """Return by name of a running Spark application the workers that run its executors."""
        found: dict[str, set[str]] = {}
        for worker in ("spark-worker-1", "spark-worker-2"):
            address = self.installation.address(f"{worker}-web")
            with urllib.request.urlopen(f"http://{address}/json/", timeout=5) as answer:
                for executor in json.load(answer)["executors"]:
                    name = executor["appname"] if "appname" in executor else executor["appid"]
                    found.setdefault(name, set()).add(worker)
        return found

    def trade(self, symbol: str) -> dict[str, Any]:
        """Send a trade of now to the log and return the event."""
        ingest = self.role("ingest")
        codec = EventCodec(schema_registry(ingest), ingest.max_payload_bytes)
        event = {
            "event_type": "TRADE",
            "venue": "binance_spot",
            "symbol": symbol,
            "trade_id": time.time_ns(),
            "event_time": datetime.now(UTC),
            "price": Decimal(1),
            "quantity": Decimal(1),
            "quantity_unit": "BASE",
        }
        with EventProducer.connect(
            client_settings(ingest), codec.encode, max_payload_bytes=ingest.max_payload_bytes
        ) as producer:
            producer.send(event)  # type: ignore[arg-type]
        return event

    @contextmanager
    def memory_watched(self) -> Iterator[list[int]]:
        """Add up, again and again, the bytes of memory that this home takes; yield the sums.

        Beside that of servers it is that of commands, and of their drivers and executors.
        """
        sums, over = list[int](), Event()

        def watch() -> None:
            while True:
                sums.append(sum(map(self._memory_of, psutil.process_iter())))
                if over.wait(self.poll_seconds):
                    return

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            try:
                yield sums
            finally:
                over.set()
                watching.result()

    def land(self) -> None:
        """Let the lander run, by the right clock."""
        record = self.supervisor.find(LANDER)
        if record is None or not record.alive or record.argv[:3] != [*LAKEHOUSE]:
            self.supervisor.stop(LANDER)
            self.restart(LANDER)

    def restart(self, name: str) -> None:
        """Start a component that was stopped."""
        self.run("up", "--only", name, deadline_seconds=UP_SECONDS)

    def _memory_of(self, process: psutil.Process) -> int:
        with suppress(psutil.Error):
            if process.environ().get("LAKEHOUSE_HOME") == str(self.settings.home):
                return int(process.memory_full_info().pss)  # what is shared is counted once
        return 0

    def _home(self) -> dict[str, Path]:
        return {"home": self.settings.home}

    def _environ(self) -> dict[str, str]:
        return {"LAKEHOUSE_HOME": str(self.settings.home)}


def start_stack(home: Path) -> RunningStack:
    """Bring up the stack in ``home``, or what of it is not running, but the lander.

    Tests start that, some with a clock that tells another time.
    """
    environ = os.environ | {
        "LAKEHOUSE_HOME": str(home),
        "LAKEHOUSE_FIRST_HOUR": FIRST_HOUR.isoformat(),
        "LAKEHOUSE_LAST_HOUR": LAST_HOUR.isoformat(),
    }
    names = (component.name for component in components(Settings(home=home), {}))
    others = ",".join(name for name in names if name != LANDER)
    done = subprocess.run(
        [*LAKEHOUSE, "up", "--profile", "stack", "--only", others],
        env=environ,
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, file=sys.stderr)
    settings = Settings(_env_file=roles_folder(home) / "operator.env", home=home)  # type: ignore[call-arg]
    installation = Installation(settings)
    orchestration = Settings(_env_file=roles_folder(home) / "orchestration.env", home=home)  # type: ignore[call-arg]
    return RunningStack(settings, load_catalog(orchestration), Supervisor(home), installation)
