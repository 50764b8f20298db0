"""How old an event is at most that batch's tables do not show, as its log of runs tells."""

import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock

from cachetools import TTLCache
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

import schemas
from serving.api.relations import Relation
from serving.exporter.audit import RUNS, Runs
from serving.views import reads, view_names

# A look reads the table's metadata, and its rows when a run has been recorded.
LOOK_SECONDS = 1.0


class Published:
    """Tells since when events may wait for batch.

    What was ingested before the end of what batch has published is shown, or was refused. How far
    bronze is behind the log is `serving.api.lag`'s to tell.

    Args:
        open_catalog: Opens the catalog, at the first question.
    """

    def __init__(self, open_catalog: Callable[[], Catalog]) -> None:
        self._open_catalog = open_catalog
        self._catalog: Catalog | None = None
        self._runs = Runs()
        self._lock = Lock()
        self._known: TTLCache[str, dict[str, datetime]] = TTLCache(maxsize=1, ttl=LOOK_SECONDS)

    def age_seconds(self, relation: Relation, *, batch_only: bool) -> float | None:
        """Return the age, by time of ingestion, that no event exceeds which the rows do not show.

        Returns:
            Seconds; None of rows that batch has not made alone, or whose runs are not recorded.

        Raises:
            Exception: Whatever the catalog raises when it is away.
        """
        sources = _sources(relation, batch_only=batch_only)
        through = self._through() if sources else {}
        if not sources or not sources <= through.keys():
            return None
        return max(0.0, time.time() - min(through[name] for name in sources).timestamp())

    def _through(self) -> dict[str, datetime]:
        """Return, by table of bronze, up to when batch has published what was ingested."""
        with self._lock:
            if RUNS not in self._known:
                self._known[RUNS] = self._look()
            return self._known[RUNS]

    def _look(self) -> dict[str, datetime]:
        if self._catalog is None:
            self._catalog = self._open_catalog()
        try:
            return self._runs.published_through(self._catalog.load_table(RUNS))
        except NoSuchTableError:
            return {}


def _sources(relation: Relation, *, batch_only: bool) -> set[str]:
    """Return the tables of bronze that the rows are made of, where batch has made them alone.

    Of a view that is what batch's halves are made of; reference data beside them are as they are.
    """
    if not relation.is_merged:
        return set(schemas.contract(relation.contract).sources)
    if not batch_only:
        return set()
    tables = map(schemas.contract, reads(relation.name) - set(view_names()))
    return {source for table in tables if table.speed_twin for source in table.sources}
