"""A disk that is full when a test says so.

Where this process may mount, the lake's storage is a small file system of its own (tmpfs), which is
made as small as what is in it: every writer meets ENOSPC, as on a real disk. Elsewhere, as for a
user who is not root, the processes that write may write no file any more (RLIMIT_FSIZE): they meet
EFBIG at the same places, their logs included. A machine that has neither has no such fault.
"""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil

# Twenty minutes of small files from two streaming layers are some 600 MB.
SIZE_BYTES = 2 << 30
# Writers go on while it is measured how much they have written.
ATTEMPTS = 50


class Disk(Protocol):
    """What the lake is on."""

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Give the room back."""


class SmallFileSystem:
    """A tmpfs on a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mount(self) -> bool:
        """Mount it; return whether this process may."""
        options = f"size={SIZE_BYTES},mode=0755"
        return _ran("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._folder))

    def unmount(self) -> None:
        """Take it off again, with all that is in it."""
        assert _ran("umount", "--lazy", str(self._folder)), f"{self._folder} stays mounted"

    def fill(self) -> None:
        """Make it as small as what is in it."""
        for _ in range(ATTEMPTS):
            found = os.statvfs(self._folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            if self._resize(used):
                return
        raise AssertionError(f"{self._folder} grows faster than it can be measured")

    def free(self) -> None:
        """Make it as large as it was."""
        assert self._resize(SIZE_BYTES)

    def _resize(self, size_bytes: int) -> bool:
        return _ran("mount", "-o", f"remount,size={size_bytes}", str(self._folder))


class NoMoreFiles:
    """A limit on the files of processes that run."""

    def __init__(self, writers: Callable[[], list[psutil.Process]]) -> None:
        self._writers = writers
        self._limited: list[psutil.Process] = []

    def fill(self) -> None:
        """Let nobody write."""
        self._limited = self._writers()
        self._limit(0)

    def free(self) -> None:
        """Let everybody write who is still there."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size_bytes: int) -> None:
        for process in self._limited:
            if process.is_running():
                _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
                process.rlimit(psutil.RLIMIT_FSIZE, (size_bytes, hard))


@contextmanager
def small_disk(folder: Path, writers: Callable[[], list[psutil.Process]]) -> Iterator[Disk | None]:
    """Make a folder a disk that can be full.

    Args:
        folder: An empty folder that the lake will be in.
        writers: Returns the processes that write to it.

    Yields:
        The disk; None where there can be none.
    """
    disk = SmallFileSystem(folder)
    if disk.mount():
        try:
            yield disk
        finally:
            disk.unmount()
    elif hasattr(psutil, "RLIMIT_FSIZE"):
        yield NoMoreFiles(writers)
    else:
        yield None


def _ran(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
