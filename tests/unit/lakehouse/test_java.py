"""Which Java is chosen, and what is said when none will do."""

from pathlib import Path

import pytest

from lakehouse.java import JavaError, find_java, java_version

NOWHERE: list[Path] = []


def fake_java(home: Path, version: str, *, exit_code: int = 0, release: bool = False) -> Path:
    """Make a home whose ``java`` is a script that answers as a real one does."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-07-16' >&2\nexit {exit_code}\n"
    )
    executable.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.mark.parametrize(
    ("stated", "feature"), [("1.8.0_422", 8), ("17.0.15", 17), ("25", 25), ("22-ea", 22)]
)
@pytest.mark.parametrize("release", [True, False])
def test_version_is_read_from_the_release_file_or_from_the_command(
    tmp_path: Path, stated: str, feature: int, release: bool
) -> None:
    assert java_version(fake_java(tmp_path, stated, release=release)) == feature


def test_java_home_comes_before_path_and_folders(tmp_path: Path) -> None:
    named = fake_java(tmp_path / "named", "21.0.1")
    on_path = fake_java(tmp_path / "path", "17.0.1")
    fake_java(tmp_path / "jvms" / "a", "17.0.2")
    environ = {"JAVA_HOME": str(named), "PATH": str(on_path / "bin")}
    assert find_java(environ, [tmp_path / "jvms"]).home == named
    del environ["JAVA_HOME"]
    assert find_java(environ, [tmp_path / "jvms"]).home == on_path


def test_a_proven_version_is_preferred_to_a_newer_one(tmp_path: Path) -> None:
    newest = fake_java(tmp_path / "newest", "25.0.1")
    proven = fake_java(tmp_path / "jvms" / "proven", "17.0.1")
    found = find_java({"JAVA_HOME": str(newest), "PATH": ""}, [tmp_path / "jvms"])
    assert (found.home, found.proven) == (proven, True)
    alone = find_java({"JAVA_HOME": str(newest), "PATH": ""}, NOWHERE)
    assert (alone.version, alone.proven) == (25, False)


def test_a_java_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    broken = fake_java(tmp_path / "broken", "21.0.1", exit_code=1)
    good = fake_java(tmp_path / "jvms" / "good", "17.0.1")
    found = find_java({"JAVA_HOME": str(broken), "PATH": ""}, [tmp_path / "jvms"])
    assert found.home == good


def test_macos_layout_is_known(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk-21.jdk" / "Contents" / "Home", "21.0.1")
    assert find_java({"PATH": ""}, [tmp_path]).home == home


def test_too_old_is_refused_with_what_was_found_and_what_to_install(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "old", "1.8.0_422")
    with pytest.raises(JavaError, match=r"found only 8 at .*old.*openjdk-17"):
        find_java({"JAVA_HOME": str(old), "PATH": ""}, NOWHERE)


def test_none_at_all_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(JavaError, match=r"no Java was found.*install a JDK 17 or 21"):
        find_java({"PATH": str(tmp_path)}, [tmp_path / "absent"])


def test_a_server_that_needs_a_newer_java_gets_it_and_spark_keeps_its_own(tmp_path: Path) -> None:
    proven = fake_java(tmp_path / "proven", "17.0.1")
    newest = fake_java(tmp_path / "jvms" / "newest", "25.0.1")
    environ, folders = {"JAVA_HOME": str(proven), "PATH": ""}, [tmp_path / "jvms"]
    assert find_java(environ, folders, oldest=24).home == newest
    assert find_java(environ, folders).home == proven


def test_a_demand_above_sparks_heeds_the_order_alone(tmp_path: Path) -> None:
    named = fake_java(tmp_path / "named", "25.0.1")
    fake_java(tmp_path / "jvms" / "proven", "21.0.1")
    environ = {"JAVA_HOME": str(named), "PATH": ""}
    assert find_java(environ, [tmp_path / "jvms"], oldest=21).home == named


def test_a_java_that_is_too_old_for_a_server_is_refused_with_what_to_install(
    tmp_path: Path,
) -> None:
    proven = fake_java(tmp_path / "proven", "17.0.1")
    with pytest.raises(JavaError, match=r"Java 24 or newer .*17 at .*install a JDK 24 .*temurin"):
        find_java({"JAVA_HOME": str(proven), "PATH": ""}, NOWHERE, oldest=24)
