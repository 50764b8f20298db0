"""One stack for all its tests: they run in the order in which a day would bring them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounting import market
from embedded_lake import LAKEHOUSE
from stack.monitoring import Prometheus
from stack.running import RunningStack, start_stack

from lakehouse.settings import Role, Settings

# First what wants an empty log, last what takes servers away.
ORDER = ("test_loop", "test_security", "test_trino", "test_upkeep", "test_panels", "test_outages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path.stem) if item.path.parent.name == "stack" else -1)


def _rank(module: str) -> int:
    return ORDER.index(module) if module in ORDER else -1


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
            logs = os.environ.get("LAKEHOUSE_STACK_LOGS")
            if logs:
                shutil.copytree(home / "logs", logs, dirs_exist_ok=True)


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


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack) -> Iterator[Prometheus]:
    """The stack's own Prometheus, while there is something to be seen."""
    with market(stack, seed=3):
        yield Prometheus(f"http://{stack.installation.address('prometheus')}")
