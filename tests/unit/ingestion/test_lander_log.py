"""Where a lander resumes, and when it refuses to."""

from datetime import UTC, datetime

import pytest

from ingestion.lander.log import EventsLostError, TopicChangedError, TopicState, resume
from lakehouse.positions import LogPosition
from lakehouse.progress import Progress

NOW = datetime(2024, 8, 9, tzinfo=UTC)
TOPIC = "market.trades"


def topic(
    topic_id: str = "a", *, ends: tuple[int, ...] = (9, 9), starts: tuple[int, ...] = (0, 0)
) -> TopicState:
    return TopicState(TOPIC, topic_id, dict(enumerate(starts)), dict(enumerate(ends)))


def landed(*offsets: int, generation: int = 0) -> Progress:
    return Progress(TOPIC, "a", generation, dict(enumerate(offsets)), NOW)


def test_the_first_start_reads_everything() -> None:
    assert resume(None, topic(), now=NOW) == landed(0, 0)


def test_a_restart_goes_on_after_the_last_commit() -> None:
    assert resume(landed(4, 9), topic(), now=NOW) == landed(4, 9)


@pytest.mark.parametrize(
    ("found", "change"),
    [
        (topic("b"), "its id was a, is b"),
        (topic("b", ends=(0, 0)), "its id was a, is b"),
        (topic(ends=(9, 3)), "ends at offset 3 of partition 1, but was landed up to 4"),
        (topic(ends=(9, 9, 9), starts=(0, 0, 0)), "had 2 partitions and has 3"),
    ],
)
def test_another_topic_is_refused_until_it_is_declared(found: TopicState, change: str) -> None:
    with pytest.raises(TopicChangedError, match=change) as refusal:
        resume(landed(4, 4), found, now=NOW)
    assert "--new-generation" in str(refusal.value)

    declared = resume(landed(4, 4), found, now=NOW, new_generation=True)
    assert declared.generation == 1
    assert declared.topic_id == found.topic_id
    assert set(declared.offsets.values()) == {0}
    assert declared.offsets.keys() == found.ends.keys()
    assert LogPosition(declared.generation, 0).encode() > LogPosition(0, 10**15 - 1).encode()


def test_declaring_a_new_generation_of_the_same_topic_changes_nothing() -> None:
    assert resume(landed(4, 4), topic(), now=NOW, new_generation=True) == landed(4, 4)


def test_deleted_events_are_counted_and_refused_until_accepted() -> None:
    found = topic(starts=(6, 1))
    with pytest.raises(EventsLostError, match=r"deleted 2 events .*2 of partition 0\)"):
        resume(landed(4, 4), found, now=NOW)
    assert resume(landed(4, 4), found, now=NOW, accept_loss=True) == landed(6, 4)


def test_a_first_start_behind_retention_is_a_loss_too() -> None:
    with pytest.raises(EventsLostError, match="deleted 7 events"):
        resume(None, topic(starts=(6, 1)), now=NOW)
