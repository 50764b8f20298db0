"""Unpack the part of an archive that is used; nothing leaves the folder that it is meant for."""

import lzma
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from backports import tarfile

from lakehouse.distributions.source import DistributionError

BROKEN_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
)


def unpack(archive: Path, folder: Path, *, keep: Sequence[str] = ("",), strip: int = 0) -> None:
    """Unpack a tar archive, or the one inside a jar.

    A hard link is kept also where what it points to is not: the first of its names then is the
    file. (Trino's plugins share their jars with one another so.)

    Args:
        archive: A tar archive of any compression; or a jar that has one, ending in ``.txz``.
        folder: Where to; it exists.
        keep: What is wanted: beginnings of the names, after stripping.
        strip: How many leading folders are taken off each name; what has no more is left out.

    Raises:
        DistributionError: The archive cannot be read, or a name in it would leave the folder.
    """
    try:
        if archive.suffix == ".jar":
            inner = _inner_archive(archive, folder)
            _unpack_tar(inner, folder, keep, strip)
            inner.unlink()
        else:
            _unpack_tar(archive, folder, keep, strip)
    except BROKEN_ARCHIVE as error:
        raise DistributionError(f"{archive.name} cannot be unpacked: {error}") from error


def _inner_archive(jar: Path, folder: Path) -> Path:
    with zipfile.ZipFile(jar) as entries:
        names = [name for name in entries.namelist() if name.endswith(".txz")]
        if len(names) != 1:
            raise DistributionError(f"{jar.name} has {len(names)} .txz archives inside, not one")
        return Path(entries.extract(names[0], folder))


def _unpack_tar(archive: Path, folder: Path, keep: Sequence[str], strip: int) -> None:
    with tarfile.open(archive) as tar:
        names: dict[str, list[str]] = {}  # of what has content: the names that are wanted for it
        for member in tar:
            wanted = _wanted(member.name, keep, strip)
            if wanted:
                content = member.linkname if member.islnk() else member.name
                names.setdefault(content, []).append(wanted)
        for member in tar:  # in the archive's own order: to go back, it would be read anew
            if member.islnk():
                continue
            first, *links = names.pop(member.name, [""])
            if first:
                tar.extract(member.replace(name=first, deep=False), folder, filter="data")
            for link in links:
                _link(member.replace(name=link, deep=False), folder, first)
    if names:
        raise DistributionError(f"{archive.name} links to {min(names)}, which is not in it")


def _wanted(name: str, keep: Sequence[str], strip: int) -> str:
    parts = name.removeprefix("./").split("/", strip)
    stripped = parts[strip] if len(parts) > strip else ""
    return stripped if stripped.startswith(tuple(keep)) else ""


def _link(member: tarfile.TarInfo, folder: Path, first: str) -> None:
    target = folder / tarfile.data_filter(member, str(folder)).name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(folder / first, target)
