"""The lock of the JVM artifacts, and what becomes of a jar that is not what it promises."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lakehouse import artifacts
from lakehouse.artifacts import Artifact, ArtifactError, absent_artifacts, cached_jars, fetch
from lakehouse.ivy import Coordinate, _ivy_module
from lakehouse.settings import Settings

ONE = Coordinate("org.one", "one", "1.0")
TWO = Coordinate("org.two", "two", "2.0")


def content(coordinate: Coordinate) -> bytes:
    return f"the jar {coordinate}".encode()


def artifact(coordinate: Coordinate, *, sha256: str | None = None) -> Artifact:
    return Artifact(coordinate, sha256 or hashlib.sha256(content(coordinate)).hexdigest(), "spark")


def write_lock(path: Path, *items: Artifact) -> Path:
    path.write_text(
        "# a comment\n"
        + "".join(f"{item.coordinate} {item.sha256} {item.set_name}\n" for item in items)
    )
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """An empty cache, and a registry that serves ``content``."""

    def serve(
        _: Settings, coordinates: Sequence[Coordinate], folder: Path, advance: Callable[[], None]
    ) -> None:
        for coordinate in coordinates:
            jar = folder / "jars" / coordinate.group / coordinate.file_name
            jar.parent.mkdir(parents=True, exist_ok=True)
            jar.write_bytes(content(coordinate))
            advance()

    monkeypatch.setattr(artifacts, "retrieve", serve)
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


def test_the_lock_of_the_project_is_complete() -> None:
    locked = artifacts.locked_artifacts()
    assert {item.set_name for item in locked} == {"spark", "kafka"}
    assert all(re.fullmatch("[0-9a-f]{64}", item.sha256) for item in locked)
    assert len({(item.coordinate, item.set_name) for item in locked}) == len(locked)


def test_fetched_jars_are_placed_and_counted(offline: Settings) -> None:
    arrived: list[int] = []
    wanted = [artifact(ONE), artifact(TWO)]
    fetch(offline, wanted, lambda: arrived.append(1))
    assert [item.path(offline).read_bytes() for item in wanted] == [content(ONE), content(TWO)]
    assert len(arrived) == len(wanted)
    assert [path.name for path in offline.cache.iterdir()] == ["jars"], "staging was left behind"


def test_a_wrong_jar_is_refused_by_name_and_nothing_is_placed(offline: Settings) -> None:
    with pytest.raises(ArtifactError, match=r"org\.two:two:2\.0 .*the lock says 0{64}"):
        fetch(offline, [artifact(ONE), artifact(TWO, sha256="0" * 64)])
    assert list(offline.cache.rglob("*.jar")) == []


def test_an_altered_jar_in_the_cache_counts_as_absent(
    offline: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = artifact(ONE)
    monkeypatch.setattr(artifacts, "locked_artifacts", lambda: [item])
    with pytest.raises(ArtifactError, match=r"1 of 1 spark jars .*one-1\.0\.jar.*artifacts fetch"):
        cached_jars(offline, "spark")
    fetch(offline, [item])
    assert (absent_artifacts(offline), cached_jars(offline, "spark")) == ([], [item.path(offline)])
    item.path(offline).write_bytes(b"something else")
    assert absent_artifacts(offline) == [item]


def test_lock_fills_in_only_what_has_no_checksum(offline: Settings, tmp_path: Path) -> None:
    reviewed = artifact(ONE, sha256="1" * 64)
    lock = write_lock(tmp_path / "lock", reviewed, artifact(TWO, sha256="-"))
    filled = artifacts.fill_lock(offline, lock)
    assert [item.coordinate for item in filled] == [TWO]
    assert artifacts.locked_artifacts(lock) == [reviewed, artifact(TWO)]
    assert lock.read_text().startswith("# a comment\n")


@pytest.mark.parametrize(
    "line", ["org.one:one 0 spark", "org.one:one:1.0 - ", f"org.one::1 {'0' * 64} spark", "x y z"]
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"# a comment\n{line}\n")
    with pytest.raises(
        ArtifactError, match=r"lock:2: expected `group:artifact:version sha256 set`"
    ):
        artifacts.locked_artifacts(lock)


def test_ivy_is_asked_for_each_jar_alone() -> None:
    module = _ivy_module([ONE, TWO])
    assert module.count('transitive="false"') == len([ONE, TWO])
    assert 'org="org.two" name="two" rev="2.0"' in module
