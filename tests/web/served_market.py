"""The API and the live tier as processes, over a log and a lake with a few rows in both layers."""

import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import Producer
from embedded_lake import LAKEHOUSE, EmbeddedLake, embedded_lake
from market_rows import DIGITS, INSTRUMENTS, NEW, Row, bar, dead_letters, reconciliation, spread
from trade_log import payload

import schemas
from lakehouse.embedded import API
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from serving.api.local_key import local_address

LIVE = "live"
# Of the first hour and more, which batch has confirmed; the rest is the speed layer's.
BATCH_MINUTES, MINUTES = 40, 45
DEADLINE_SECONDS = 60.0


@dataclass
class ServedMarket:
    """A home whose API answers.

    Attributes:
        lake: Its log and its tables.
        port: Where the API listens.
    """

    lake: EmbeddedLake
    port: int

    @property
    def settings(self) -> Settings:
        """Those of the home."""
        return self.lake.settings

    @property
    def url(self) -> str:
        """The page's address, without the key."""
        return self._address.partition("#")[0]

    @property
    def key(self) -> str:
        """The home's local key."""
        return self._address.partition("#key=")[2]

    @property
    def _address(self) -> str:
        return local_address(self.settings, self.port)

    def append(self, table: str, rows: Iterable[Row]) -> None:
        """Append rows to a table in one commit."""
        schema = schemas.contract(table).arrow_schema()
        self.lake.catalog.load_table(table).append(pa.Table.from_pylist(list(rows), schema=schema))

    def trade(self, **fields: Any) -> None:
        """Send an event about a trade to the log."""
        event = NEW | fields
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers})
        producer.produce(TRADES_TOPIC, payload(**event), f"{event['venue']}:{event['symbol']}")
        assert producer.flush(DEADLINE_SECONDS) == 0

    def start(self) -> None:
        """Start the API and wait until it is ready."""
        serve = [*LAKEHOUSE, API, "serve", "--port", str(self.port)]
        home = {"LAKEHOUSE_HOME": str(self.settings.home)}
        self.lake.supervisor.start(API, serve, environ=home, port=self.port)
        wait_until(self._is_ready, "the API is ready")

    def stop(self) -> None:
        """End the API without a word."""
        self.lake.supervisor.stop(API, grace_seconds=0)

    def start_live(self) -> None:
        """Start the live tier and wait until it follows the log."""
        self.lake.start(LIVE)
        wait_until(lambda: self.lake.is_ready(LIVE), "the live tier follows the log")

    def _is_ready(self) -> bool:
        record = self.lake.supervisor.find(API)
        assert record is not None
        assert record.alive, self.lake.tail(API)
        try:
            with urllib.request.urlopen(f"{self.url}health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def served_market(settings: Settings) -> Iterator[ServedMarket]:
    """Fill a lake, serve it, and stop at the end."""
    with embedded_lake(settings) as lake:
        market = ServedMarket(lake, lake.supervisor.port(API))
        for venue, symbol in INSTRUMENTS:
            minutes = [bar(minute, venue, symbol) for minute in range(MINUTES)]
            market.append("gold.bars_1m", minutes[:BATCH_MINUTES])
            market.append("gold.bars_1m_rt", minutes[BATCH_MINUTES - 1 :])
        market.append("gold.bars_1m", [bar(0, **DIGITS), bar(0, symbol=NEW["symbol"])])
        market.append("gold.spreads_1m", [spread(minute) for minute in range(MINUTES)])
        verdicts = [reconciliation("gold.bars_1m"), reconciliation("gold.spreads_1m", drifted=2)]
        market.append("ops.reconciliations", verdicts)
        refused = [*dead_letters("bad_magic_byte", 3), *dead_letters("non_positive_price", 1)]
        market.append("bronze.dead_letters", refused)
        market.start_live()
        market.start()
        yield market


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)
