"""The lock of the Maven artifacts, and what becomes of a file that is not what it promises."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lakehouse import artifacts
from lakehouse.artifacts import (
    Artifact,
    ArtifactError,
    Profile,
    absent_artifacts,
    cached_jars,
    fetch,
    locked_jars,
)
from lakehouse.ivy import Coordinate, _ivy_module
from lakehouse.settings import Settings

ONE = Coordinate("org.one", "one", "1.0")
TWO = Coordinate("org.two", "two", "2.0")
ARCHIVE = Coordinate("org.three", "three", "3.0", "tar.gz", "all")


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
    sets = {"spark", "kafka", "spark-stack", "jmx", "servers"}
    assert {item.set_name for item in locked} == sets
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
    "line",
    ["org.one:one 0 spark", "org.one:one:1.0 - ", f"org.one::1 {'0' * 64} spark", "x y z"]
    + [f"a:b:1:{rest} {'0' * 64} spark" for rest in ("", "tar.gz:", "tar.gz:all:more")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"# a comment\n{line}\n")
    with pytest.raises(
        ArtifactError,
        match=r"lock:2: expected `group:artifact:version\[:extension\[:classifier\]\] sha256 set`",
    ):
        artifacts.locked_artifacts(lock)


def test_ivy_is_asked_for_each_jar_alone() -> None:
    module = _ivy_module([ONE, TWO])
    assert module.count('transitive="false"') == len([ONE, TWO])
    assert 'org="org.two" name="two" rev="2.0"' in module


def test_a_file_that_is_no_jar_has_an_extension_and_may_have_a_classifier(
    offline: Settings, tmp_path: Path
) -> None:
    plain = Coordinate("org.three", "three", "3.0", "tar.gz")
    lock = write_lock(tmp_path / "lock", artifact(ONE), artifact(plain), artifact(ARCHIVE))
    assert "\norg.three:three:3.0:tar.gz:all " in lock.read_text()
    assert [item.coordinate for item in artifacts.locked_artifacts(lock)] == [ONE, plain, ARCHIVE]
    names = [ONE.file_name, plain.file_name, ARCHIVE.file_name]
    assert names == ["one-1.0.jar", "three-3.0.tar.gz", "three-3.0-all.tar.gz"]
    with artifacts.checked(offline, [artifact(ARCHIVE)]) as files:
        assert files[ARCHIVE].read_bytes() == content(ARCHIVE)
    assert not files[ARCHIVE].exists()


def test_ivy_is_told_of_extension_and_classifier() -> None:
    module = _ivy_module([ONE, ARCHIVE])
    assert '<artifact name="one" type="jar" ext="jar"/>' in module
    assert '<artifact name="three" type="tar.gz" ext="tar.gz" m:classifier="all"/>' in module


def test_a_profile_has_its_own_jars_and_the_embedded_one_no_more_than_it_runs_on() -> None:
    sets = {profile: {item.set_name for item in locked_jars(profile)} for profile in Profile}
    assert sets == {
        Profile.EMBEDDED: {"kafka", "spark"},
        Profile.STACK: {"kafka", "spark", "spark-stack", "jmx"},
        Profile.COMPOSE: set(),
    }
    assert locked_jars() == locked_jars(Profile.EMBEDDED)
    assert all(item.coordinate.extension == "jar" for item in locked_jars(Profile.STACK))


def test_jars_of_the_stack_alone_are_fetched_with_its_profile(offline: Settings) -> None:
    with pytest.raises(ArtifactError, match=r"2 of 2 spark-stack .*fetch --profile stack`"):
        cached_jars(offline, "spark-stack")
    with pytest.raises(ArtifactError, match=r"kafka jars .*`lakehouse artifacts fetch`"):
        cached_jars(offline, "kafka")
