"""Reads the sources in rounds, and serves what they said while it is fresh.

Scrapes are answered from memory, so a catalog that hangs delays no answer: what it said is then
soon too old to be served, and ``lakehouse_exporter_up`` says why it is missing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event

import structlog
from confluent_kafka import KafkaException
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.exporter import families as f
from serving.exporter.audit import ModelChecks, Reconciliations, Runs, Upkeep
from serving.exporter.families import Reading, to_metrics
from serving.exporter.freshness import Covered, contracts, landed
from serving.exporter.lake import Log, Round
from serving.exporter.tables import DeadLetterCounts, poison, table_sizes

Source = Callable[[Round], Iterable[Reading]]
# A round reads some files and asks the catalog a dozen questions.
ROUND_SECONDS = 5.0
# Three rounds: one that failed may pass unseen, more may not.
MAX_AGE_SECONDS = 3 * ROUND_SECONDS

_log = structlog.get_logger(__name__)


@dataclass
class _State:
    """What is known of one source."""

    readings: list[Reading] = field(default_factory=list)
    read_at: float | None = None
    seconds: float = 0.0
    failures: int = 0


class Exporter(Collector):
    """Serves what its sources said in the last rounds.

    Args:
        open_catalog: Opens the catalog; tried again while it fails.
        log: The broker.
        sources: What to read, by the name under which its failures are told.
        also: Collectors whose values stay true while their source is away, such as counts.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        open_catalog: Callable[[], Catalog],
        log: Log,
        sources: Mapping[str, Source],
        *,
        also: Iterable[Callable[[], Iterable[Metric]]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open_catalog = open_catalog
        self._catalog: Catalog | None = None
        self._log = log
        self._sources = dict(sources)
        self._also = tuple(also)
        self._clock = clock
        self._states = {name: _State() for name in self._sources}

    def run(self, stop: Event, beat: Callable[[], None], *, every: float = ROUND_SECONDS) -> None:
        """Read in rounds until told to stop.

        Args:
            stop: Set from elsewhere.
            beat: Called after every round, a failed one too: the exporter itself is well.
            every: Pause between rounds, in seconds.
        """
        while not stop.is_set():
            self.read()
            beat()
            stop.wait(every)

    def read(self) -> None:
        """Read every source once; a source that fails is logged and told, the others go on."""
        lake: Round | None = None
        for name, source in self._sources.items():
            began = time.monotonic()
            state = self._states[name]
            try:
                lake = lake or Round(self._opened(), self._log)
                state.readings = list(source(lake))
                state.read_at = self._clock()
            except Exception as error:  # whatever a catalog, a store or a broker may raise
                state.failures += 1
                if isinstance(error, KafkaException | LakehouseError):
                    self._log.forget()
                _log.warning("source failed", source=name, error=repr(error).partition("\n")[0])
            state.seconds = time.monotonic() - began

    def describe(self) -> Iterator[Metric]:
        """Yield every family without values."""
        yield from (family.empty() for family in f.FAMILIES.values())

    def collect(self) -> Iterator[Metric]:
        """Yield what the sources said, each while it is fresh."""
        now = self._clock()
        readings: list[Reading] = []
        for name, state in self._states.items():
            is_fresh = state.read_at is not None and now - state.read_at <= MAX_AGE_SECONDS
            readings.append(Reading(f.UP, (name,), is_fresh))
            readings.append(Reading(f.READ_SECONDS, (name,), state.seconds))
            readings.append(Reading(f.FAILURES, (name,), state.failures))
            if is_fresh:
                readings += state.readings
        yield from to_metrics(readings, now=now)
        for more in self._also:
            yield from more()

    def _opened(self) -> Catalog:
        if self._catalog is None:
            self._catalog = self._open_catalog()
        return self._catalog


def lake_exporter(settings: Settings, open_catalog: Callable[[], Catalog]) -> Exporter:
    """Return the exporter of a lake, which has read nothing yet."""
    runs = Runs()
    twinned = [name for name, stated in schemas.contracts().items() if stated.speed_twin]
    sources: dict[str, Source] = {
        "contracts": contracts,
        "log": landed,
        "tables": table_sizes,
        "runs": runs,
        "batch": Covered(runs),
        "reconciliations": Reconciliations(twinned),
        "upkeep": Upkeep(),
        "model_checks": ModelChecks(),
        "dead_letters": DeadLetterCounts(),
        "poison": poison,
    }
    return Exporter(open_catalog, Log(settings), sources, also=[runs.collect])
