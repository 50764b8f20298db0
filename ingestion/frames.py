"""Recorded frames: one ``<receive time, ns> <frame>`` a line, in a plain or gzipped file."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

_READ_BYTES: Final = 1 << 16
# No frame of any feed comes near this; without a bound, a file of another kind would be one line.
MAX_LINE_BYTES: Final = 32 * 1024 * 1024
# 19 digits reach the year 2286; more would not fit the 64 bits of a timestamp.
_MAX_TIME_DIGITS: Final = 19
_GZIP_MAGIC: Final = b"\x1f\x8b"
MALFORMED_LINE: Final = "malformed_line"


class RecordedFrame(NamedTuple):
    """A frame as it was received."""

    received_at_ns: int
    """Receive time by the recorder's clock, nanoseconds since 1970 UTC."""
    payload: bytes
    """The frame itself, byte for byte."""
    source: str
    """Where it was read: ``file:line``."""


class RejectedInput(NamedTuple):
    """Input that is no frame; it becomes a dead letter and the reading goes on."""

    received_at_ns: int
    """Receive time of the frame before it, so that merged files keep their order."""
    payload: bytes
    source: str
    reason: str
    detail: str


class _UnreadableError(Exception):
    """The file cannot be read any further."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_frames(path: Path) -> Iterator[RecordedFrame | RejectedInput]:
    """Read a recording, in order, without holding more than a line of it.

    Nothing in the file stops the reading early: a line that is no frame yields a rejection with
    reason ``malformed_line`` or ``line_too_long``. A file named ``.gz`` that is no gzip, is
    damaged or ends in the middle yields all that could be read, then one rejection with reason
    ``not_gzip``, ``corrupt_gzip`` or ``truncated_gzip``. Empty lines are skipped, and lines may
    end as on Windows.

    Raises:
        OSError: The file cannot be opened.
    """
    number, received_at_ns = 0, 0
    lines = _Lines(path)
    for line in lines:
        number += 1
        source = f"{path}:{number}"
        if line is None:
            detail = f"line {number} is longer than {MAX_LINE_BYTES} bytes; it was skipped"
            yield RejectedInput(received_at_ns, b"", source, "line_too_long", detail)
            continue
        if not line:
            continue
        if (frame := parse_line(line)) is None:
            detail = f"line {number} is not '<receive time, ns> <frame>'"
            yield RejectedInput(received_at_ns, line, source, MALFORMED_LINE, detail)
            continue
        received_at_ns, payload = frame
        yield RecordedFrame(received_at_ns, payload, source)
    if lines.failure is not None:
        source = f"{path}:{number + 1}"
        reason, detail = lines.failure.reason, lines.failure.detail
        yield RejectedInput(received_at_ns, lines.unfinished, source, reason, detail)


def parse_line(line: bytes) -> tuple[int, bytes] | None:
    """Return receive time (ns since 1970 UTC) and frame of a line; None when it has none."""
    time, _, payload = line.partition(b" ")
    if not (time.isdigit() and len(time) <= _MAX_TIME_DIGITS and payload):
        return None
    return int(time), payload


class _Lines:
    """The lines of a file without their ends; None stands for one that was too long to keep.

    After the last line, ``failure`` says why the file could not be read to its end, and
    ``unfinished`` is the part of a line that was read by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failure: _UnreadableError | None = None
        self.unfinished = b""

    def __iter__(self) -> Iterator[bytes | None]:
        pending, skipping = b"", False
        try:
            for chunk in _chunks(self._path):
                *complete, pending = (pending + chunk).split(b"\n")
                for line in complete:
                    yield None if skipping else line.removesuffix(b"\r")
                    skipping = False
                if skipping or len(pending) > MAX_LINE_BYTES:
                    pending, skipping = b"", True
        except _UnreadableError as error:
            self.failure, self.unfinished = error, pending
            return
        if skipping:
            yield None
        elif pending:
            yield pending.removesuffix(b"\r")


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's content, decompressed if it is named ``.gz``."""
    with ExitStack() as files:
        raw = files.enter_context(path.open("rb"))
        if path.suffix != ".gz":
            yield from iter(lambda: raw.read(_READ_BYTES), b"")
            return
        magic = raw.read(len(_GZIP_MAGIC))
        if magic != _GZIP_MAGIC:
            raise _UnreadableError(
                "not_gzip", f"{path} is named .gz but begins with bytes {magic.hex() or 'none'}"
            )
        raw.seek(0)
        content = files.enter_context(gzip.GzipFile(fileobj=raw, mode="rb"))
        while True:
            try:
                chunk = content.read1(_READ_BYTES)
            except EOFError:
                raise _UnreadableError(
                    "truncated_gzip", f"{path} ends in the middle, after byte {raw.tell()}"
                ) from None
            except (gzip.BadGzipFile, zlib.error) as error:
                raise _UnreadableError(
                    "corrupt_gzip", f"{path} is damaged before byte {raw.tell()}: {error}"
                ) from None
            if not chunk:
                return
            yield chunk
