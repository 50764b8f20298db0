"""The API as a process of its own, over a lake with a few rows in both layers."""

import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import URLError

import pyarrow as pa
from market_rows import DIGITS, INSTRUMENTS, Row, bar, dead_letters, reconciliation, spread
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from schemas import tables
from serving.api.keys import ApiKeys
from serving.api.local_key import local_key

LAKEHOUSE = (sys.executable, "-m", "lakehouse")
API = "api"
# Of the first hour and more, which batch has confirmed; the rest is the speed layer's.
BATCH_MINUTES, MINUTES = 40, 45
DEADLINE_SECONDS = 60.0


@dataclass
class ServedMarket:
    """A home whose API answers.

    Attributes:
        settings: The home.
        catalog: Its tables.
        url: Where the page is.
        key: The home's local key.
    """

    settings: Settings
    catalog: Catalog
    supervisor: Supervisor
    port: int
    key: str

    @property
    def url(self) -> str:
        """The page's address, without the key."""
        return f"http://127.0.0.1:{self.port}/"

    def append(self, table: str, rows: Iterable[Row]) -> None:
        """Append rows to a table in one commit."""
        schema = schemas.contract(table).arrow_schema()
        self.catalog.load_table(table).append(pa.Table.from_pylist(list(rows), schema=schema))

    def start(self) -> None:
        """Start the API and wait until it is ready."""
        serve = [*LAKEHOUSE, "api", "serve", "--port", str(self.port)]
        home = {"LAKEHOUSE_HOME": str(self.settings.home)}
        self.supervisor.start(API, serve, environ=home, port=self.port)
        wait_until(self._is_ready, "the API is ready")

    def stop(self) -> None:
        """End the API without a word."""
        self.supervisor.stop(API, grace_seconds=0)

    def _is_ready(self) -> bool:
        record = self.supervisor.find(API)
        assert record is not None
        assert record.alive, self.supervisor.log(API).read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def served_market(settings: Settings) -> Iterator[ServedMarket]:
    """Fill a lake, serve it, and stop at the end."""
    catalog, supervisor = load_catalog(settings), Supervisor(settings.home)
    tables.apply(catalog)
    keys = ApiKeys.of(settings)
    port = supervisor.port(API)
    market = ServedMarket(settings, catalog, supervisor, port, local_key(settings, keys))
    keys.close()
    for venue, symbol in INSTRUMENTS:
        minutes = [bar(minute, venue, symbol) for minute in range(MINUTES)]
        market.append("gold.bars_1m", minutes[:BATCH_MINUTES])
        market.append("gold.bars_1m_rt", minutes[BATCH_MINUTES - 1 :])
    market.append("gold.bars_1m", [bar(0, **DIGITS)])
    market.append("gold.spreads_1m", [spread(minute) for minute in range(MINUTES)])
    verdicts = [reconciliation("gold.bars_1m"), reconciliation("gold.spreads_1m", drifted=2)]
    market.append("ops.reconciliations", verdicts)
    refused = [*dead_letters("bad_magic_byte", 3), *dead_letters("non_positive_price", 1)]
    market.append("bronze.dead_letters", refused)
    try:
        market.start()
        yield market
    finally:
        market.stop()


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)
