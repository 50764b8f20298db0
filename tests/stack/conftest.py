"""One stack for all its tests: they run in the order in which a day would bring them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from accounting import market
from chaos.oracles import Logs, check_bronze, check_views
from chaos.recording import write_recordings
from dropped_files import csv_of, instrument
from embedded_lake import DEADLINE_SECONDS, LAKEHOUSE
from stack.exchange import exchange
from stack.market_day import (
    EVENTS,
    MIDNIGHT,
    MarketDay,
    Processed,
    assert_exact_as_stated,
    split_at_midnight,
)
from stack.monitoring import Prometheus
from stack.orchestration import Airflow
from stack.programs import Program, program_of
from stack.running import FIRST_HOUR, LAST_HOUR, RunningStack, start_stack

from demo.judge import Judge
from demo.oracle import events_from_sample
from demo.topic import by_name
from demo.tour import sample_files
from infra.airflow.api import HOURLY, RUN_SECONDS
from lakehouse.files import write_atomically
from lakehouse.intervals import HOUR
from lakehouse.resilience import retrying
from lakehouse.settings import Role, Settings
from serving.client import Client
from serving.trino_engine import TrinoEngine

# First what needs no stack, then what wants an empty log, last what takes servers away.
ORDER = (
    "test_promtool",
    "test_inhibition",
    "test_loop",
    "test_airflow",
    "test_streams",
    "test_security",
    "test_wrapped_keys",
    "test_commands",
    "test_models",
    "test_trino",
    "test_upkeep",
    "test_serving",
    "test_panels",
    "test_degraded",
    "test_outages",
)


MINUTE = HOUR / 60
# Seconds of the epoch; a drill that would begin later is left out.
DRILLS_UNTIL = "LAKEHOUSE_DRILLS_UNTIL"
# The lander of these has the clock of the market.
BY_ANOTHER_CLOCK = {"test_loop", "test_airflow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: _rank(item.path.stem) if item.path.parent == here else -1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a drill out when whoever runs the tests has no time left for it."""
    until = os.environ.get(DRILLS_UNTIL)
    if until and item.get_closest_marker("drill") and time.time() > float(until):
        pytest.skip("there is no time left for it")


def _rank(module: str) -> int:
    if module not in ORDER:
        raise pytest.UsageError(f"tests/stack/{module}.py has no place in ORDER of its conftest.py")
    return ORDER.index(module)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The whole stack; that of ``LAKEHOUSE_STACK_HOME``, which is kept, if that is set."""
    kept = os.environ.get("LAKEHOUSE_STACK_HOME")
    home = Path(kept).resolve() if kept else tmp_path_factory.mktemp("stack")
    try:
        yield start_stack(home)
    finally:
        if not kept:
            environ = os.environ | {"LAKEHOUSE_HOME": str(home)}
            subprocess.run([*LAKEHOUSE, "down"], env=environ, check=True)
            assert left_behind(home) == []
            logs = os.environ.get("LAKEHOUSE_STACK_LOGS")
            if logs:
                shutil.copytree(home / "logs", logs, dirs_exist_ok=True)


def left_behind(home: Path) -> list[str]:
    """Return the command lines of processes that a home that is down still has."""
    lines = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(home) in line]


@pytest.fixture(scope="module", autouse=True)
def lander(request: pytest.FixtureRequest) -> None:
    """Let the lander run by the right clock, but for those who set it themselves."""
    module = Path(str(request.node.path)).stem
    asks = any("stack" in item.fixturenames for item in _functions_of(request.node))
    if asks and module not in BY_ANOTHER_CLOCK:
        request.getfixturevalue("stack").land()


def _functions_of(module: pytest.Collector) -> list[pytest.Function]:
    return [
        item
        for item in module.session.items
        if isinstance(item, pytest.Function) and item.path == module.path
    ]


@pytest.fixture(scope="session")
def airflow(stack: RunningStack) -> Airflow:
    """The stack's Airflow."""
    return Airflow(stack)


@pytest.fixture(scope="session")
def stack_settings(stack: RunningStack) -> Callable[[Role], Settings]:
    return stack.role


@pytest.fixture(scope="session")
def judge(stack: RunningStack) -> Judge:
    """The oracle of the demo's recorded trades, and Trino."""
    recorded = by_name(events_from_sample(sample_files()))
    return Judge(stack.role("ingest"), TrinoEngine(stack.role("orchestration")), recorded)


@pytest.fixture(scope="session")
def day(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> MarketDay:
    """The sample, sent in its two hours; both layers have it all, and the second hour goes on."""
    folder = tmp_path_factory.mktemp("day")
    before, after = split_at_midnight(sample_files(), folder)
    day = MarketDay(stack, folder)
    day.begin(MIDNIGHT - 3 * MINUTE)
    day.send(before)
    day.turn_to(MIDNIGHT + 3 * MINUTE)
    day.send(after)
    count = "SELECT coalesce(sum(trade_count), 0) AS n FROM serving.bars_1m"
    stack.wait_until(
        lambda: stack.rows(count)[0]["n"] == EVENTS,
        "all trades are in the view",
        # An hour is processed beside it.
        deadline_seconds=RUN_SECONDS,
    )
    return day


@pytest.fixture(scope="session")
def processed(day: MarketDay, stack: RunningStack, airflow: Airflow, judge: Judge) -> Processed:
    """The two hours when Airflow has processed them, judged in the midst of it."""
    day.turn_to(MIDNIGHT + HOUR + MINUTE)
    runs = []
    with stack.memory_watched() as memory_bytes:
        for hour in (FIRST_HOUR, LAST_HOUR):
            run = airflow.begun(HOURLY, hour)
            airflow.wait_for_task(HOURLY, run, "batch.publish")
            assert_exact_as_stated(judge)  # of what batch has published and speed still has
            assert airflow.wait_for(HOURLY, [run]) == {"success"}, airflow.story(HOURLY, [run])
            runs.append(run)
    return Processed(tuple(runs), memory_bytes)


# Beside the trades of the demo: minutes after them, and few, since it is not speed that is tested.
MARKET = {"start": datetime(2024, 8, 9, 0, 15, tzinfo=UTC), "seconds": 300.0, "rate": 4.0}
FILLS = ("--fills=400", "--late=0.1", "--duplicate=0.1", "--busts=0.05", "--bad=0.05")
# What customers were, while they traded.
CHANGES = ("--customers=20", "--changes=100", "--start=2024-08-08T23:50:00", "--pace=10")


@pytest.fixture(scope="session")
def streams(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """The log, with something of every stream; both layers have it all, and a dropped file."""
    folder = tmp_path_factory.mktemp("streams")
    recordings = write_recordings(folder / "market", **MARKET, seed=7)
    stack.run("replay", *map(str, recordings))
    stack.run("oms", "simulate", *map(str, sample_files()), *FILLS)
    stack.run("crm", "simulate", *CHANGES, "--duplicate=0.1", "--out-of-order=0.1")
    file = folder / "instruments_2024-08-09.csv"
    file.write_text(csv_of(instrument()))
    stack.run("files", "drop", str(file))
    logs, caught_up = Logs.read(stack), retrying(on=AssertionError, budget_seconds=DEADLINE_SECONDS)
    caught_up(check_bronze)(stack, logs)
    caught_up(check_views)(stack, logs)
    return logs


@pytest.fixture(scope="session")
def confirmed(stack: RunningStack, streams: Logs) -> tuple[str, ...]:
    """The interval that batch has run over: all that had come."""
    bounds = ("--start", "2020-01-01", "--end", datetime.now(UTC).isoformat())
    stack.run("batch", *bounds, "--wait-seconds", "60", deadline_seconds=900)
    return bounds


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, stack: RunningStack) -> Iterator[Program]:
    """Whoever asks the stack's API."""
    with program_of(stack, Path(str(request.node.path)).stem) as program:
        yield program


@pytest.fixture
def client(program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The same, as the project's own client asks it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", program.authority)
    with Client(program.address, program.key) as client:
        yield client


@pytest.fixture(scope="session")
def analyst_settings(stack: RunningStack) -> Settings:
    """Those of an analyst, who is no role of ours: a name and a password for Trino."""
    secret = (stack.settings.home / "secrets" / "trino-analyst").read_text()
    serving = stack.role("serving")
    return Settings(
        home=stack.settings.home,
        trino=serving.trino,
        trino_username="analyst",
        trino_password=secret,
        ca_file=serving.ca_file,
    )


@contextmanager
def live_feed(stack: RunningStack) -> Iterator[None]:
    """Follow an exchange meanwhile, and have the stack's Prometheus ask the feed how it is."""
    port = stack.supervisor.port("feed-metrics", preferred=9104)
    targets = stack.installation.home / "prometheus" / "targets" / "feed.json"
    market = ("--venue", "binance_spot", "--symbol", "BTCUSDT")
    with (
        exchange() as address,
        stack.spawn("feed", *market, "--url", address, "--metrics-port", str(port)) as feed,
    ):
        try:
            write_atomically(targets, json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
            yield
        finally:
            targets.unlink(missing_ok=True)
            feed.terminate()
            assert feed.wait(DEADLINE_SECONDS) == 0, stack.tail("feed")


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack) -> Iterator[Prometheus]:
    """The stack's own Prometheus, while there is something to be seen."""
    with market(stack, seed=3), live_feed(stack):
        yield Prometheus(f"http://{stack.installation.address('prometheus')}")
