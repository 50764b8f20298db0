"""What the intake counts of the frames that it is given."""

import pytest
from recording_sinks import RecordingSink

from ingestion.adapters import FrameRejectedError
from ingestion.intake import Intake


@pytest.mark.parametrize(
    ("frame", "size"), [("{}", 2), (b"\xff\x00", 2), ("\u20ac", 3), ("\ud800", 3)]
)
def test_frames_and_their_bytes_are_counted_whatever_becomes_of_them(
    frame: bytes | str, size: int
) -> None:
    def refuse(_frame: bytes | str, _received_at: int) -> None:
        raise FrameRejectedError("unknown", "nothing that we know")

    intake = Intake(RecordingSink())
    for adapt in (lambda _frame, _received_at: None, refuse):
        intake.accept(adapt, frame, received_at_ns=1, source="test")
    assert (intake.counts.frames, intake.counts.bytes) == (2, 2 * size)
