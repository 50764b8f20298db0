"""One stack for all its tests: they run in the order in which a day would bring them."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from accounting import market
from embedded_lake import DEADLINE_SECONDS, LAKEHOUSE
from stack.exchange import exchange
from stack.monitoring import Prometheus
from stack.running import RunningStack, start_stack

from lakehouse.files import write_atomically
from lakehouse.settings import Role, Settings

# First what needs no stack, then what wants an empty log, last what takes servers away.
ORDER = (
    "test_promtool",
    "test_inhibition",
    "test_loop",
    "test_security",
    "test_wrapped_keys",
    "test_trino",
    "test_upkeep",
    "test_panels",
    "test_outages",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: _rank(item.path.stem) if item.path.parent == here else -1)


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


@pytest.fixture(scope="session")
def stack_settings(stack: RunningStack) -> Callable[[Role], Settings]:
    return stack.role


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
