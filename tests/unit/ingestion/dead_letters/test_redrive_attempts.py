"""Whatever cannot be mended is tried so often, and then left alone."""

import pytest
from dead_letter_rows import refuse, row
from pyiceberg.catalog import Catalog
from redriving import ALL, TRADES, FakeKafka, redrive, refused_again, verdicts

from ingestion.dead_letters import letters as reading
from ingestion.dead_letters.letters import Selection
from ingestion.dead_letters.lineage import Coordinates
from ingestion.dead_letters.redrive import Verdict
from ingestion.dead_letters.redrives import Redrives


@pytest.mark.parametrize("again", [False, True])
def test_a_poison_event_is_redriven_so_often_and_then_stays(
    catalog: Catalog, kafka: FakeKafka, again: bool
) -> None:
    refuse(catalog, row(1))
    for attempt in (1, 2, 3):
        redrive(catalog, kafka, again=again, max_attempts=3)
        refuse(catalog, refused_again(kafka, attempt - 1))
    left = redrive(catalog, kafka, again=again, max_attempts=3)
    assert len(kafka.log) == 3
    assert {headers["redrive-origin"] for *_, headers, _ in kafka.log} == {b"market.trades/0/0/1"}
    assert [headers["redrive-attempt"] for *_, headers, _ in kafka.log] == [b"1", b"2", b"3"]
    assert verdicts(left)[-1] is Verdict.EXHAUSTED
    assert Verdict.SENT not in verdicts(left)
    assert "3 times" in str(left[-1].detail)
    assert Verdict.SENT in verdicts(redrive(catalog, kafka, again=again, max_attempts=4))


def test_the_bound_holds_though_a_crash_kept_the_tries_from_being_recorded(
    catalog: Catalog, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(catalog, row(1))
    with monkeypatch.context() as patched:
        patched.setattr(Redrives, "append", lambda *_: None)
        for attempt in range(3):
            newest = Selection(places=(Coordinates(TRADES, 0, 0, 999 + attempt),))
            redrive(catalog, kafka, ALL if attempt == 0 else newest)
            refuse(catalog, refused_again(kafka, attempt))
    last = Selection(places=(Coordinates(TRADES, 0, 0, 1002),))
    assert verdicts(redrive(catalog, kafka, last)) == [Verdict.EXHAUSTED]
    # Of the first one nobody knows, so it is sent once more: at most one round too many.
    assert verdicts(redrive(catalog, kafka, Selection(places=(Coordinates(TRADES, 0, 0, 1),)))) == [
        Verdict.SENT
    ]


@pytest.mark.parametrize("page_letters", [1, 200])
def test_a_family_in_one_run_shares_the_bound(
    catalog: Catalog, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, page_letters: int
) -> None:
    monkeypatch.setattr(reading, "PAGE_LETTERS", page_letters)
    refuse(catalog, row(1))
    redrive(catalog, kafka)
    refuse(catalog, refused_again(kafka, 0))
    for max_attempts, second in {2: Verdict.EXHAUSTED, 4: Verdict.SENT}.items():
        expected = [Verdict.SENT, second]
        for broker in (None, kafka):
            found = redrive(catalog, broker, again=True, max_attempts=max_attempts)
            assert verdicts(found) == expected
