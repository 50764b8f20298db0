"""Fixtures that every room's tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from schema_drafts import Draft

# Code is compiled quickly rather than well, and kept: with this compiler the JVM makes little room
# for it, and would throw away and compile again what the next test needs.
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"

# A whole tour of the demo, a broker, the home of the live tier's tests, a lake that is served, the
# tables that MLflow makes.
SHARED_FIXTURES = {"toured", "broker", "live_lake", "market", "tracking"}
# As many workers as there are cores may have a Spark session each; modules take turns.
SPARK_SESSIONS = 2

# A test that shares the machine with a JVM is slow now and then: that is no finding.
hypothesis.settings.register_profile(
    "shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")


def pytest_configure() -> None:
    """Heed SIGINT, as a terminal's processes do: one started in the background ignores it.

    What a process ignores its children ignore too, and tests interrupt theirs.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests that share what is costly to make."""
    turns: dict[Path, int] = {}
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            turn = turns.setdefault(item.path, len(turns)) % SPARK_SESSIONS
            item.add_marker(pytest.mark.xdist_group(f"spark {turn}"))
        for fixture in SHARED_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(fixture))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of one test's own; nothing runs in it."""
    return Settings(home=tmp_path / "home")


@pytest.fixture
def draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Draft"]:
    """A copy of the contracts, to be changed; a process that went by it ends with the real ones."""
    from schema_drafts import Draft, forget

    yield Draft.copied_to(tmp_path / "schemas")
    monkeypatch.undo()
    forget()


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The home of the shared Spark session: a test keeps to namespaces of its own."""
    return Settings(
        home=tmp_path_factory.mktemp("spark-home"),
        spark_master="local[2]",
        spark_driver_memory="1g",
    )


@pytest.fixture(scope="session")
def spark(spark_settings: Settings) -> Iterator["SparkSession"]:
    """The one Spark session of the test run: its JVM takes seconds to start."""
    from lakehouse.spark import session_properties, spark_session

    options = session_properties(spark_settings)["spark.driver.extraJavaOptions"]
    # A test's data are a handful of rows: what costs is planning, compiling and starting tasks.
    small = {
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        # Generated code is what the demo, the command line's tests and chaos run on.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": f"{options} {QUICK_START}",
    }
    session = spark_session(spark_settings, "tests", **small)
    yield session
    session.stop()
