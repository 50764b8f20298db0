"""Dead letters are counted, found and read, only those that are meant."""

from datetime import date

import pytest
from dead_letter_rows import DAY, NOON, refuse, row
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from ingestion.dead_letters import letters as reading
from ingestion.dead_letters.counts import Count, count
from ingestion.dead_letters.letters import DeadLetters, Selection
from ingestion.dead_letters.lineage import (
    ATTEMPT,
    ORIGIN,
    Coordinates,
    CoordinatesError,
    Lineage,
    link,
)
from ingestion.dead_letters.redrives import Outcome, Redrive, Redrives, Sent

TRADES, FRAMES = "market.trades", "ingest.dead_letters"
HERE = Coordinates(TRADES, 0, 3, 1234)


def offsets(catalog: Catalog, selection: Selection) -> list[int | None]:
    pages = DeadLetters(catalog).pages(selection)
    return [letter.place and letter.place.offset for page in pages for letter in page]


@given(
    st.builds(
        Coordinates,
        st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
        *(st.integers(0, 2**63) for _ in range(3)),
    )
)
def test_coordinates_are_read_as_they_are_written(place: Coordinates) -> None:
    assert Coordinates.parse(str(place)) == place


@pytest.mark.parametrize(
    "text", ["", "market.trades", "market.trades/0/1", "a/0/1/-1", "a/0/1/2/3", "/0/0/0", "a/0/0/²"]
)
def test_what_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(CoordinatesError, match="topic/generation/partition/offset"):
        Coordinates.parse(text)


def test_lineage_is_read_from_the_headers_that_link() -> None:
    origin = Coordinates(FRAMES, 0, 0, 17)
    headers = link(HERE, origin, attempt=2, redrive_id="r")
    assert Lineage.of(Coordinates(TRADES, 0, 3, 2000), headers) == Lineage(origin, 2)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {ORIGIN: str(HERE).encode()},
        {ORIGIN: b"\xff", ATTEMPT: b"1"},
        {ORIGIN: b"nowhere", ATTEMPT: b"1"},
        {ORIGIN: str(HERE).encode(), ATTEMPT: b"many"},
    ],
)
def test_headers_that_make_no_sense_are_no_past(headers: dict[str, bytes]) -> None:
    assert Lineage.of(HERE, headers) == Lineage(HERE, 0)


def test_each_option_restricts(catalog: Catalog) -> None:
    refuse(
        catalog,
        row(0),
        row(1, reason="it's odd"),
        row(2, stage="batch", ingested_at=NOON + DAY),
        row(3, topic=FRAMES, stage="producer"),
        row(4, ingested_at=NOON - DAY),
        row(5, kafka_partition=1, topic_generation=1),
    )
    for selection, expected in {
        Selection(): [3, 0, 1, 2, 4, 5],
        Selection(reason="it's odd"): [1],
        Selection(stage="batch"): [2],
        Selection(topic=FRAMES): [3],
        Selection(since=NOON): [3, 0, 1, 2, 5],
        Selection(until=NOON): [4],
        Selection(since=NOON, until=NOON + DAY, topic=TRADES): [0, 1, 5],
        Selection(places=(Coordinates(TRADES, 1, 1, 5), Coordinates(TRADES, 0, 0, 2))): [2, 5],
        Selection(places=(Coordinates(TRADES, 0, 1, 5),)): [],
        Selection(stage="batch", reason="it's odd"): [],
    }.items():
        assert offsets(catalog, selection) == expected, selection


def test_pages_are_in_the_order_of_the_log_however_they_were_written(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_LETTERS", 4)
    for first in (7, 0, 5):
        refuse(catalog, *(row(offset, payload=bytes([offset])) for offset in (first + 1, first)))
    refuse(catalog, row(3, topic_generation=1), row(None, stage="files", source="bars.csv:3"))
    pages = list(DeadLetters(catalog).pages(Selection()))
    assert [len(page) for page in pages] == [1, 4, 3]
    assert offsets(catalog, Selection()) == [None, 0, 1, 5, 6, 7, 8, 3]
    assert [letter.payload for letter in pages[1]] == [b"\0", b"\1", b"\5", b"\6"]


def test_a_letter_is_read_whole(catalog: Catalog) -> None:
    refuse(catalog, row(9, headers={"a": b"1", "b": None}, message_key=None, source="x:1"))
    ((letter,),) = DeadLetters(catalog).pages(Selection())
    assert letter.place == Coordinates(TRADES, 0, 0, 9)
    assert (letter.headers, letter.key, letter.payload) == ({"a": b"1", "b": b""}, None, b"junk")
    assert (letter.refused_at, letter.logged_at, letter.source) == (NOON, NOON, "x:1")


def test_the_newest_come_first(catalog: Catalog) -> None:
    times = [NOON + n * DAY for n in (2, 0, 3, 1)]
    refuse(catalog, *(row(n, ingested_at=time) for n, time in enumerate(times)))
    refuse(catalog, row(None, ingested_at=NOON + 2 * DAY, source="bars.csv:3"))
    found = DeadLetters(catalog).newest(Selection(), 3)
    assert [letter.place and letter.place.offset for letter in found] in (
        [2, 0, None],
        [2, None, 0],
    )
    assert DeadLetters(catalog).newest(Selection(topic=FRAMES), 3) == []


def redriven(catalog: Catalog, selection: Selection, outcome: Outcome, redrive_id: str) -> None:
    letters = [letter for page in DeadLetters(catalog).pages(selection) for letter in page]
    sent = Sent(TRADES, 0, 99) if outcome is Outcome.SENT else None
    Redrives(catalog).append(
        [Redrive(redrive_id, letter, 1, outcome, sent=sent) for letter in letters]
    )


def test_counts_are_by_day_and_cause_and_tell_what_was_redriven(catalog: Catalog) -> None:
    refuse(catalog, *(row(n) for n in range(3)), row(3, reason="empty_payload", payload=None))
    refuse(catalog, row(4, ingested_at=NOON + DAY), row(5, topic=FRAMES, stage="producer"))
    some = Selection(places=tuple(Coordinates(TRADES, 0, 0, n) for n in (0, 1)))
    redriven(catalog, some, Outcome.SENT, "a")
    redriven(catalog, some, Outcome.SENT, "deliberately again")
    redriven(catalog, Selection(topic=FRAMES), Outcome.REFUSED, "a")
    redriven(catalog, Selection(reason="empty_payload"), Outcome.IGNORED, "a")
    today, tomorrow = date(2024, 8, 9), date(2024, 8, 10)
    of_lander = [
        Count(today, TRADES, "lander", "bad_magic_byte", letters=3, redriven=2),
        Count(today, TRADES, "lander", "empty_payload", letters=1, redriven=1),
    ]
    assert count(catalog, Selection()) == [
        Count(tomorrow, TRADES, "lander", "bad_magic_byte", letters=1, redriven=0),
        Count(today, FRAMES, "producer", "bad_magic_byte", letters=1, redriven=0),
        *of_lander,
    ]
    assert count(catalog, Selection(until=NOON + DAY, stage="lander")) == of_lander


def test_an_empty_lake_has_no_dead_letters(catalog: Catalog) -> None:
    assert count(catalog, Selection()) == []
    assert list(DeadLetters(catalog).pages(Selection())) == []
