"""The third tier of the merge: what the live tier has seen of the log takes part in pages."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import pytest
from calling import client_of
from faulty import FaultyEngine
from served_rows import MINUTE, NOON, Lake, Row, as_told, bar_of, row_of
from starlette.testclient import TestClient
from told import ToldStore

from lakehouse.settings import Settings
from serving.api import live as live_tier
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.api.resources import RESOURCES
from serving.engine import QueryError
from serving.engines import Engine
from serving.views import view_sql

pytestmark = pytest.mark.serving


@pytest.fixture
def live(settings: Settings) -> ToldStore:
    live = ToldStore(settings)
    live.tell_progress({0: 9})
    return live


@pytest.fixture
def faulty(sql: Engine) -> FaultyEngine:
    return FaultyEngine(sql)


@pytest.fixture
def caller(
    settings: Settings, faulty: FaultyEngine, keys: ApiKeys, everything: str, live: ToldStore
) -> Iterator[TestClient]:
    with client_of(create_app(settings, Gate(faulty, at_once=2), keys, live), everything) as caller:
        yield caller


def bars(caller: TestClient, **asked: Any) -> dict[str, Any]:
    answer = caller.get("/v1/bars", params={"symbol": "BTCUSDT", **asked})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def seen(page: dict[str, Any]) -> list[tuple[int, str]]:
    return [(row["last_offset"], row["status"]) for row in page["data"]]


RECONCILED = [(0, "RECONCILED"), (1, "RECONCILED"), (2, "RECONCILED")]


def test_who_has_seen_more_of_the_log_wins(
    caller: TestClient, live: ToldStore, now: Callable[[], str]
) -> None:
    assert seen(bars(caller)) == [*RECONCILED, (50, "PROVISIONAL")]
    told = [bar_of(0, 70), bar_of(1, 1), bar_of(2, 71) | {"trade_count": 0}, bar_of(4, 72)]
    live.tell("bars_1m", [as_told(row) for row in told])
    page = bars(caller)
    assert seen(page) == [
        (70, "PROVISIONAL"),
        (1, "RECONCILED"),
        (50, "PROVISIONAL"),
        (72, "PROVISIONAL"),
    ]
    assert page["data"][-1]["close"] == "172.00000000"
    assert page["meta"]["status"] == {"RECONCILED": 1, "PROVISIONAL": 3}
    assert page["meta"]["offsets"] == {"0": 72}
    for other in ({"tier": "reconciled"}, {"as_of": now()}):
        assert 72 not in [offset for offset, _ in seen(bars(caller, **other))]
    assert seen(bars(caller, end="2024-08-08T12:01:00Z")) == [(70, "PROVISIONAL")]


def test_a_live_tier_that_is_away_takes_no_part(
    caller: TestClient, live: ToldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.tell("bars_1m", [as_told(bar_of(3, 99))])
    monkeypatch.setattr(live_tier, "STALE_SECONDS", 0.0)
    page = bars(caller)
    assert seen(page)[-1] == (50, "PROVISIONAL")
    assert page["meta"]["freshness_seconds"] is None


def test_minutes_that_were_forgotten_are_not_said_to_be_fresh(
    caller: TestClient, live: ToldStore
) -> None:
    def fresh(minute: int) -> float | None:
        page = bars(caller, end=(NOON + minute * MINUTE).isoformat())
        seconds: float | None = page["meta"]["freshness_seconds"]
        return seconds

    live.tell_progress({0: 9}, age_seconds=2.0)
    assert 2.0 <= (fresh(1) or 0) < 30
    live.tell("bars_1m", [as_told(bar_of(minute, 100 + minute)) for minute in range(62)])
    assert fresh(1) is None  # of minutes 0 and 1 nothing is held any more
    assert 2.0 <= (fresh(3) or 0) < 30


def test_a_mark_is_not_made_up(caller: TestClient, live: ToldStore) -> None:
    position = row_of("gold.positions", last_offset=7, fill_count=1)
    live.tell("positions", [as_told(position)])
    (mine, _) = caller.get("/v1/positions/C-1").json()["data"]
    assert (mine["last_offset"], mine["status"]) == (1, "RECONCILED")


def test_a_row_that_fits_no_column_takes_no_part(caller: TestClient, live: ToldStore) -> None:
    live.tell("bars_1m", [as_told(bar_of(4, 72)) | {"close": "?"}])
    page = bars(caller)
    assert seen(page) == [*RECONCILED, (50, "PROVISIONAL")]
    assert page["meta"]["freshness_seconds"] is None


def test_what_a_view_hides_is_declared() -> None:
    for relation in (one for resource in RESOURCES for one in resource.relations.values()):
        if relation.live is not None:
            hidden = f"{relation.hides} > 0" if relation.hides else "> 0"
            assert (hidden in view_sql(relation.name)) == (relation.hides is not None)


def test_a_kept_page_goes_on_with_live_rows_while_the_engine_is_away(
    caller: TestClient, live: ToldStore, faulty: FaultyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise QueryError("the server is gone")

    bars(caller)
    monkeypatch.setattr("serving.api.reading.PRESENT_SECONDS", 0.0)
    faulty.fault = fail
    live.tell("bars_1m", [as_told(bar_of(4, 72))])
    page = bars(caller)
    assert seen(page) == [*RECONCILED, (50, "PROVISIONAL"), (72, "PROVISIONAL")]
    assert "rows of tables are" in page["meta"]["degraded"]


class Version(NamedTuple):
    """A version of a bar: of a minute, as of an offset; that says what is in it."""

    minute: int
    offset: int

    @property
    def counts(self) -> bool:
        return self.offset % 3 > 0

    def row(self, symbol: str) -> Row:
        return bar_of(self.minute, self.offset, symbol) | {"trade_count": int(self.counts)}


class Tiers(NamedTuple):
    """What each tier has of an instrument."""

    batch: list[Version]
    speed: list[Version]
    live: list[Version]


# A live row of which the one layer, or the other, knows that nothing is left by now.
LATE = Tiers([], [Version(3, 6)], [Version(3, 5)]), Tiers([Version(3, 6)], [], [Version(3, 5)])
versions = st.lists(st.builds(Version, st.integers(0, 9), st.integers(0, 20)), max_size=12)
numbers = itertools.count()


@hypothesis.given(st.builds(Tiers, versions, versions, versions), st.integers(1, 4))
@hypothesis.example(LATE[0], 2)
@hypothesis.example(LATE[1], 2)
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    # Each example is commits and pages: to look for a smaller one takes minutes.
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate],
)
def test_pages_walked_are_the_merge_of_three_tiers(
    caller: TestClient, live: ToldStore, lake: Lake, tiers: Tiers, limit: int
) -> None:
    symbol = f"X{next(numbers)}"
    published = {one.minute: one for one in tiers.batch}
    lake.append("gold.bars_1m", [one.row(symbol) for one in published.values()])
    lake.append("gold.bars_1m_rt", [one.row(symbol) for one in tiers.speed])
    live.tell("bars_1m", [as_told(one.row(symbol)) for one in tiers.live])
    live.tell_progress({0: 20})  # or it is taken to be away before the last example
    newest: dict[int, Version] = {}
    for one in (*published.values(), *tiers.speed, *tiers.live):
        newest[one.minute] = max(newest.get(one.minute, one), one, key=lambda seen: seen.offset)
    expected = [
        (
            (NOON + minute * MINUTE).strftime("%H:%M"),
            one.offset,
            "RECONCILED" if published.get(minute) == one else "PROVISIONAL",
        )
        for minute, one in sorted(newest.items())
        if one.counts
    ]
    found, asked = list[tuple[str, int, str]](), dict[str, Any](symbol=symbol, limit=limit)
    while (cursor := asked.get("cursor", "")) is not None:
        page = bars(caller, **{name: value for name, value in asked.items() if value})
        assert len(page["data"]) <= limit
        offsets = [row["last_offset"] for row in page["data"]]
        assert page["meta"]["offsets"] == ({"0": max(offsets)} if offsets else {})
        found += [(r["window_start"][11:16], r["last_offset"], r["status"]) for r in page["data"]]
        asked["cursor"] = page["next"]
    assert cursor is None
    assert found == expected
