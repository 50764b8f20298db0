"""The store of live rows, fed through real topics: who reads from it, and what it forgets."""

import asyncio

import pytest
from confluent_kafka import Producer
from embedded_lake import EmbeddedLake
from landing import wait_for

from lakehouse.settings import Settings
from serving.live.progress import Progress
from serving.live.relations import PROGRESS_KEY, RELATIONS, LiveRow, Values, encode, key_of
from serving.live_rows.store import LiveStore

pytestmark = [pytest.mark.integration, pytest.mark.serving]

BARS = RELATIONS["bars_1m"]
READERS = 1_000


class Teller:
    """Sends rows as the live tier does; each test has an instrument of its own."""

    def __init__(self, settings: Settings, symbol: str) -> None:
        self._producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
        self.prefix = f"binance_spot:{symbol}:"
        self._symbol = symbol

    def bar(self, minute: int, last_offset: int, trades: int = 1) -> Values:
        return {
            "venue": "binance_spot",
            "symbol": self._symbol,
            "window_start": f"2024-08-08T12:{minute:02}:00.000000Z",
            "trade_count": trades,
            "log_partition": 0,
            "last_offset": last_offset,
        }

    def tell(self, *rows: Values) -> None:
        for row in rows:
            self._producer.produce(BARS.topic, encode(row), key_of(BARS, row))
        assert self._producer.flush(10) == 0

    def tell_raw(self, key: str, value: bytes) -> None:
        self._producer.produce(BARS.topic, value, key)
        assert self._producer.flush(10) == 0


@pytest.fixture
def settings(live_lake: EmbeddedLake) -> Settings:
    return live_lake.settings


@pytest.fixture
def teller(settings: Settings, request: pytest.FixtureRequest) -> Teller:
    return Teller(settings, f"S{abs(hash(request.node.name))}")


def seen(store: LiveStore, teller: Teller) -> dict[str, int]:
    rows = store.rows("bars_1m", teller.prefix)
    return {row["window_start"][14:16]: row["last_offset"] for row in rows}


def test_the_greater_offset_stays_whatever_comes_after(settings: Settings, teller: Teller) -> None:
    teller.tell(teller.bar(0, 7), teller.bar(1, 8), teller.bar(0, 5))
    teller.tell_raw(teller.prefix + "2024-08-08T12:02:00Z", b"{}")
    said = Progress(2.5, 1.5, {0: 9})
    teller.tell_raw(PROGRESS_KEY, said.encode())
    with LiveStore(settings) as store:
        assert store.wait_ready(30)
        assert seen(store, teller) == {"00": 7, "01": 8}
        (row, _) = store.rows("bars_1m", teller.prefix)
        assert row["status"] == "PROVISIONAL"
        assert "log_partition" not in row
        assert store.progress("bars_1m") == said
        assert store.silent_seconds("bars_1m") is None, "when that was said nobody knows"
        assert store.age_seconds("bars_1m") is None
        teller.tell_raw(PROGRESS_KEY, b"no progress")
        teller.tell_raw(PROGRESS_KEY, said.encode())
        wait_for(lambda: store.silent_seconds("bars_1m") is not None, "progress is heard")
        assert 1.0 <= (store.age_seconds("bars_1m") or 0) < 30, "clocks are not compared"
        assert store.silent_seconds() is None, "of the others it has told nothing"


def test_the_last_minutes_of_an_instrument_are_kept(settings: Settings, teller: Teller) -> None:
    teller.tell(*(teller.bar(minute, 10 + minute) for minute in (3, 1, 4, 0, 2)))
    with LiveStore(settings, minutes=2) as store:
        assert store.wait_ready(30)
        assert seen(store, teller) == {"03": 13, "04": 14}


def test_what_has_become_a_tombstone_is_hidden(settings: Settings, teller: Teller) -> None:
    teller.tell(teller.bar(0, 5), teller.bar(1, 6), teller.bar(1, 9, trades=0))
    with LiveStore(settings) as store:
        assert store.wait_ready(30)
        assert seen(store, teller) == {"00": 5}


async def read(store: LiveStore, teller: Teller, until: int, pause: float) -> list[LiveRow]:
    """Read the stream of one instrument until a row with some offset has come."""
    found: list[LiveRow] = []

    def wanted(row: LiveRow) -> bool:
        return row.key.startswith(teller.prefix)

    async for row in store.subscribe(["bars_1m"], wanted=wanted, pause_seconds=pause):
        found.append(row)
        if row.last_offset == until:
            break
    return found


def test_a_thousand_readers_get_the_newest_rows_and_the_slow_ones_miss_versions_only(
    settings: Settings, teller: Teller
) -> None:
    versions = 300

    async def run(store: LiveStore) -> tuple[list[list[LiveRow]], list[LiveRow]]:
        quick = [asyncio.create_task(read(store, teller, versions, 0.05)) for _ in range(READERS)]
        slow = asyncio.create_task(read(store, teller, versions, 3.0))
        try:
            await asyncio.sleep(0)
            for version in range(1, versions + 1):
                teller.tell(teller.bar(version % 2, version))
                await asyncio.sleep(0)
            return await asyncio.gather(*quick), await slow
        finally:
            for reader in (*quick, slow):
                reader.cancel()

    with LiveStore(settings) as store:
        assert store.wait_ready(30)
        all_found, slow = asyncio.run(run(store))
    for found in (*all_found, slow):
        offsets = [row.last_offset for row in found]
        assert offsets == sorted(offsets)
        assert offsets[-1] == versions
        assert {row.key for row in found[-2:]} == {row.key for row in slow[-2:]}
    assert len(slow) < versions / 2, "nothing was queued for it"


def test_a_reader_goes_on_where_it_stopped(settings: Settings, teller: Teller) -> None:
    async def first(store: LiveStore, after: dict[str, int] | None) -> LiveRow:
        async for row in store.subscribe(["bars_1m"], after=after):
            if row.key.startswith(teller.prefix):
                return row
        raise AssertionError

    teller.tell(teller.bar(0, 5), teller.bar(1, 6))
    with LiveStore(settings) as store:
        assert store.wait_ready(30)
        row = asyncio.run(first(store, None))
        assert row.last_offset == 5
        row = asyncio.run(first(store, {"bars_1m": row.position}))
        assert row.last_offset == 6
        teller.tell(teller.bar(2, 7))
        wait_for(lambda: "02" in seen(store, teller), "the third bar")
        assert asyncio.run(first(store, {"bars_1m": row.position})).last_offset == 7
