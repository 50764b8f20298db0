"""The simulated CRM: one history, whatever happens to it on its way to the log."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from ingestion.crm.changes import CustomerChange, CustomerRow
from ingestion.crm.simulator import CrmProfile, captured_changes, sent_changes
from ingestion.faults import LoadProfileError

START = datetime(2024, 8, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def profile(**fields: Any) -> CrmProfile:
    return CrmProfile(**{"start": START, "customers": 50, "changes": 2_000} | fields)


def captured(**fields: Any) -> list[CustomerChange]:
    return list(captured_changes(profile(**fields)))


def customer_of(change: CustomerChange) -> str:
    row = change["after"] or change["before"]
    assert row is not None
    return row["customer_id"]


def test_same_profile_same_changes() -> None:
    faulty = profile(duplicate=0.1, out_of_order=0.1)
    assert list(sent_changes(faulty)) == list(sent_changes(faulty))
    assert captured(seed=1) != captured(seed=2)


def test_it_makes_as_many_changes_as_asked() -> None:
    assert len(captured(customers=7, changes=123)) == 130
    assert len(captured(customers=1, changes=0)) == 1


def test_everything_that_a_crm_does_happens() -> None:
    changes = captured()
    assert set(Counter(change["op"] for change in changes)) == {"c", "u", "d", "r"}
    created = Counter(customer_of(change) for change in changes if change["op"] == "c")
    assert max(created.values()) > 1, "nobody is created again"
    in_a_row = sum(
        (customer_of(a), a["source"]["ts_us"]) == (customer_of(b), b["source"]["ts_us"])
        for a, b in pairwise(changes)
    )
    assert in_a_row, "no transaction changes a customer twice"
    assert any(c["op"] == "u" and c["before"] == c["after"] for c in changes), "all changes tell"


def test_the_source_log_and_clock_go_on() -> None:
    changes = captured()
    places = [(c["source"]["lsn"], c["source"]["snapshot"], c["source"]["ts_us"]) for c in changes]
    assert [lsn for lsn, _, _ in places] == sorted(lsn for lsn, _, _ in places)
    assert [ts for _, _, ts in places] == sorted(ts for _, _, ts in places)
    written = [lsn for lsn, snapshot, _ in places if not snapshot]
    assert len(set(written)) == len(written)
    assert all(c["ts_us"] > c["source"]["ts_us"] >= START_US for c in changes)


def test_before_and_after_are_those_of_the_operation() -> None:
    present: dict[str, CustomerRow] = {}
    for change in captured():
        customer, before, after = customer_of(change), change["before"], change["after"]
        if change["op"] in "cr":
            assert before is None
            assert change["op"] == "r" or customer not in present
        else:
            assert before == present[customer]
        assert (after is None) == (change["op"] == "d")
        if after is None:
            del present[customer]
        else:
            present[customer] = after


def test_faults_reorder_and_repeat_and_lose_nothing() -> None:
    faulty = profile(duplicate=0.1, out_of_order=0.2)
    plain, sent = list(captured_changes(faulty)), list(sent_changes(faulty))
    place = {id(change): number for number, change in enumerate(plain)}
    assert len(place) == len(plain)
    times: dict[str, int] = defaultdict(int)
    for change in sent:
        times[repr(change)] += 1
    assert set(times) == {repr(change) for change in plain}
    assert set(times.values()) == {1, 2}
    assert len(sent) / len(plain) == pytest.approx(1.1, abs=0.03)
    positions = [change["source"]["ts_us"] for change in sent]
    assert positions != sorted(positions)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"customers": 0}, "one customer"),
        ({"pace_seconds": 0}, "pace_seconds"),
        ({"start": datetime(2024, 8, 1)}, "time zone"),  # noqa: DTZ001
        ({"duplicate": 1.5}, "duplicate"),
        ({"out_of_order": -0.1}, "out_of_order"),
    ],
)
def test_an_impossible_profile_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadProfileError, match=message):
        profile(**fields)
