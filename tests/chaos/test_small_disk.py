"""A disk can be full here, and is as it was afterwards, whichever way it is done."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chaos.small_disk import NoMoreFiles, SmallFileSystem

pytestmark = pytest.mark.chaos

# Answers each line with the number of the error that it met when it wrote.
WRITER = """
import sys
for name in sys.stdin:
    found = 0
    try:
        with open(name.strip(), "wb", buffering=0) as file:
            file.write(bytes(65536))
    except OSError as error:
        found = error.errno
    print(found, flush=True)
"""


@pytest.fixture
def writer() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def written(writer: "subprocess.Popen[str]", file: Path) -> int:
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(f"{file}\n")
    writer.stdin.flush()
    return int(writer.stdout.readline())


def test_a_file_system_without_room(tmp_path: Path, writer: "subprocess.Popen[str]") -> None:
    disk = SmallFileSystem(tmp_path)
    if not disk.mount():
        pytest.skip("nothing may be mounted here")
    try:
        assert written(writer, tmp_path / "before") == 0
        disk.fill()
        assert written(writer, tmp_path / "meanwhile") == errno.ENOSPC
        disk.free()
        assert written(writer, tmp_path / "after") == 0
    finally:
        disk.unmount()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="limits of others need Linux")
def test_processes_that_may_not_write(tmp_path: Path, writer: "subprocess.Popen[str]") -> None:
    disk = NoMoreFiles(lambda: [psutil.Process(writer.pid)])
    assert written(writer, tmp_path / "before") == 0
    disk.fill()
    assert written(writer, tmp_path / "meanwhile") == errno.EFBIG
    disk.free()
    assert written(writer, tmp_path / "after") == 0
