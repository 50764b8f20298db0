import gzip
import random
from pathlib import Path

import pytest

from ingestion import frames
from ingestion.frames import RecordedFrame, RejectedInput, read_frames

LINES = [b'%d {"n": %d}' % (1_000 + number, number) for number in range(20_000)]
CONTENT = b"\n".join(LINES) + b"\n"


def write(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def split(path: Path) -> tuple[list[RecordedFrame], list[RejectedInput]]:
    items = list(read_frames(path))
    return (
        [item for item in items if isinstance(item, RecordedFrame)],
        [item for item in items if isinstance(item, RejectedInput)],
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", ["frames.txt", "frames.gz"])
def test_reads_plain_and_gzipped_with_any_line_end(tmp_path: Path, name: str, end: bytes) -> None:
    content = end.join(LINES)
    path = write(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content)
    read, rejected = split(path)
    assert rejected == []
    assert [f"{item.received_at_ns} ".encode() + item.payload for item in read] == LINES
    assert read[6].source == f"{path}:7"


def test_bad_line_is_rejected_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = [b"no time {}", b"-5 {}", b"12345678901234567890 {}", b"17", b"17 ", b"\x00\xff\x01"]
    content = b"\n".join([b"1 {}", *bad, b"", b"2 {}"])
    read, rejected = split(write(tmp_path, "frames", content))
    assert [item.received_at_ns for item in read] == [1, 2]
    assert [item.payload for item in rejected] == bad
    assert {item.reason for item in rejected} == {"malformed_line"}
    assert [item.source.rpartition(":")[2] for item in rejected] == list("234567")


@pytest.mark.parametrize("content", [b"", b"1 {}\n2 {}\n", b"\x1f"])
def test_file_that_is_no_gzip(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, "frames.gz", content)
    read, rejected = split(path)
    assert read == []
    assert [(item.reason, item.source) for item in rejected] == [("not_gzip", f"{path}:1")]


def test_gzip_that_ends_in_the_middle_yields_what_was_read(tmp_path: Path) -> None:
    whole = gzip.compress(CONTENT)
    read, rejected = split(write(tmp_path, "frames.gz", whole[: len(whole) // 2]))
    assert len(read) > 5_000
    assert [item.payload for item in read] == [b'{"n": %d}' % n for n in range(len(read))]
    (end,) = rejected
    assert end.reason == "truncated_gzip"
    assert end.source.endswith(f":{len(read) + 1}")
    assert f"byte {len(whole) // 2}" in end.detail
    # The part of a line that was read is kept, not taken for a frame.
    assert LINES[len(read)].startswith(end.payload)


def test_damaged_gzip_yields_what_was_read(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(200_000).hex().encode()
    whole = bytearray(gzip.compress(b"1 " + noise + b"\n" + CONTENT))
    whole[-8] ^= 0xFF
    read, rejected = split(write(tmp_path, "frames.gz", bytes(whole)))
    assert len(read) == len(LINES) + 1
    assert [item.reason for item in rejected] == ["corrupt_gzip"]


def test_endless_line_is_skipped_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_LINE_BYTES", 100_000)
    content = b"1 {}\n2 " + b"x" * 300_000 + b"\n3 {}\n4 " + b"x" * 300_000
    read, rejected = split(write(tmp_path, "frames", content))
    assert [item.received_at_ns for item in read] == [1, 3]
    assert [item.reason for item in rejected] == ["line_too_long"] * 2


def test_ten_megabyte_frame_is_read_whole(tmp_path: Path) -> None:
    read, rejected = split(write(tmp_path, "frames", b"1 " + b"x" * 10_000_000 + b"\n2 {}"))
    assert [len(item.payload) for item in read] == [10_000_000, 2]
    assert rejected == []


def test_missing_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(read_frames(tmp_path / "nowhere.gz"))
