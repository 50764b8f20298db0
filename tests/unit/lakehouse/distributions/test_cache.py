"""Where distributions are, how they get there, and that nothing half made is believed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from lakehouse import distributions
from lakehouse.artifacts import Profile
from lakehouse.distributions import (
    DISTRIBUTIONS,
    Distribution,
    DistributionError,
    absent_distributions,
    cache,
    cached_home,
    distribution,
    fetch,
)
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings


@dataclass
class FakeSource:
    """A source whose program answers as it is told."""

    version: str = "1.0"
    recipe: str = "r"
    exit_code: int = 0
    made: list[Path] = field(default_factory=list)
    go_on: Event | None = None
    error: Exception | None = None

    def make(self, settings: Settings, folder: Path) -> None:
        self.made.append(folder)
        assert list(folder.iterdir()) == [], "what a dead process left is still there"
        write_program(folder / "bin" / "server", self.exit_code)
        if self.go_on:
            assert self.go_on.wait(timeout=30)
        if self.error:
            raise self.error


def write_program(path: Path, exit_code: int = 0, says: str = "a reason") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {exit_code}\n")
    path.chmod(0o755)


def server(source: FakeSource, name: str = "server", **more: object) -> Distribution:
    return Distribution(name, source, commands=("server",), **more)  # type: ignore[arg-type]


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


def visible(settings: Settings) -> list[str]:
    folder = settings.cache / "distributions"
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_what_is_fetched_is_found_by_its_name(
    empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FakeSource()
    monkeypatch.setattr(cache, "DISTRIBUTIONS", [server(source)])
    with pytest.raises(DistributionError, match=r"server 1\.0 is not in .*fetch --profile stack`"):
        distribution(empty, "server")
    arrived: list[str] = []
    fetch(empty, absent_distributions(empty, Profile.STACK), arrived.append)
    assert arrived == ["server"]
    assert (distribution(empty, "server") / "bin" / "server").is_file()
    assert absent_distributions(empty, Profile.STACK) == []
    assert visible(empty) == [distribution(empty, "server").name], "staging was left behind"


def test_an_unknown_name_is_answered_with_those_that_are_known(empty: Settings) -> None:
    with pytest.raises(DistributionError, match="no distribution 'nessie': choose from minio, tri"):
        distribution(empty, "nessie")


def test_another_recipe_is_another_place(empty: Settings) -> None:
    homes = {cached_home(empty, server(FakeSource(recipe=recipe))) for recipe in "abc"}
    assert len(homes) == 3


@pytest.mark.parametrize(
    ("source", "files", "complaint"),
    [
        (FakeSource(error=LakehouseError("no Go here")), (), "server: no Go here"),
        (FakeSource(exit_code=1), (), r"bin/server --version` failed with 1:\n  \| a reason"),
        (FakeSource(), ("lib/main",), "what was fetched has no lib/main"),
    ],
)
def test_what_failed_is_not_placed_and_the_others_are(
    empty: Settings, source: FakeSource, files: tuple[str, ...], complaint: str
) -> None:
    bad, good = server(source, files=files), server(FakeSource(), "good")
    with pytest.raises(DistributionError, match=complaint) as raised:
        fetch(empty, [bad, good])
    assert str(raised.value).startswith("1 of 2 distributions could not be fetched:")
    assert visible(empty) == [cached_home(empty, good).name]


def test_what_a_killed_process_left_is_not_believed(empty: Settings) -> None:
    item = server(FakeSource())
    home = cached_home(empty, item)
    write_program(home.with_name(f".{home.name}.partial") / "bin" / "server")
    assert cache.find(empty, item) is None
    fetch(empty, [item])
    assert cache.find(empty, item) == home


def test_of_two_that_fetch_at_once_one_waits_and_makes_nothing(empty: Settings) -> None:
    first, second = FakeSource(go_on=Event()), FakeSource()
    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(fetch, empty, [server(first)])
        while not first.made:
            assert not making.done()
        waiting = pool.submit(fetch, empty, [server(second)])
        assert first.go_on is not None
        first.go_on.set()
        making.result()
        waiting.result()
    assert (len(first.made), second.made) == (1, [])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder whose ``bin`` is all there is on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "usr" / "bin"))
    return tmp_path / "usr"


def test_the_machines_own_commands_will_do_where_that_is_allowed(
    empty: Settings, machine: Path
) -> None:
    write_program(machine / "bin" / "server", says="server, version 1.0")
    assert cache.find(empty, server(FakeSource(), from_path=True)) == machine
    assert cache.find(empty, server(FakeSource())) is None
    both = Distribution("x", FakeSource(), commands=("server", "client"), from_path=True)
    assert cache.find(empty, both) is None, "one of two commands is not enough"
    write_program(machine / "bin" / "client", says="client, version 1.1")
    assert cache.find(empty, both) is None, "the other is of another version"
    write_program(machine / "bin" / "client", says="client, version 1.0")
    assert cache.find(empty, both) == machine


@pytest.mark.parametrize(
    ("pinned", "says", "will_do"),
    [
        ("2.42.0", "prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds)", True),
        ("2.42.0", "prometheus, version 3.5.0 (branch: HEAD, revision: 8be3a94)", False),
        ("2.42.0", "prometheus, version 12.42.0", False),
        ("2.42.0", "prometheus, version 2.42.01", False),
        ("2.42.0", "prometheus, version 2.42.0-rc.1 (branch: HEAD, revision: 8be3a94)", False),
        ("2.42.0", "prometheus, version 2x42.0", False),
        ("1.26.8", "server, version 1.0\n  go version: go1.26.8\n  of 1.26.8", False),
        ("v0.28.1", "amtool, version 0.28.1 (branch: , revision: unknown)", True),
        ("v2.28.1", "Docker Compose version v2.28.1", True),
        ("v2.28.1", "Docker Compose version v2.40.0", False),
    ],
)
def test_of_the_machines_own_commands_only_the_pinned_version_will_do(
    empty: Settings, machine: Path, pinned: str, says: str, will_do: bool
) -> None:
    write_program(machine / "bin" / "server", says=says)
    item = server(FakeSource(version=pinned), from_path=True)
    assert cache.find(empty, item) == (machine if will_do else None)


def test_a_command_that_does_not_answer_will_not_do(empty: Settings, machine: Path) -> None:
    write_program(machine / "bin" / "server", exit_code=1, says="server, version 1.0")
    assert cache.find(empty, server(FakeSource(), from_path=True)) is None


def test_the_stack_has_every_server_and_the_embedded_profile_none() -> None:
    stack = {item.name for item in distributions.profile_distributions(Profile.STACK)}
    assert stack == {
        *("trino", "apicurio", "postgresql", "minio"),
        *("prometheus", "alertmanager", "postgresql-exporter", "mlflow", "airflow"),
    }
    assert distributions.profile_distributions(Profile.EMBEDDED) == []
    assert [item.name for item in DISTRIBUTIONS if item.profile == Profile.COMPOSE] == ["compose"]


def test_every_distribution_is_pinned() -> None:
    for item in DISTRIBUTIONS:
        assert any(letter.isdigit() for letter in item.source.version), item.name
        assert item.source.recipe
