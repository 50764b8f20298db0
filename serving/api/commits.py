"""When the tables behind an answer were last written."""

import time
from collections.abc import Callable
from threading import Lock

from cachetools import TTLCache, cachedmethod
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

import schemas
from serving.api.relations import Relation
from serving.views import MINUTES

# A look reads the metadata of two tables; commits come every second.
LOOK_SECONDS = 1.0


class Commits:
    """Tells when what is behind a relation was last written.

    That says whether somebody writes, and not how far behind the log they are: a writer that is
    minutes behind commits as often as another. Lag is `serving.api.lag`'s to tell, freshness
    `serving.api.published`'s and the live tier's.

    Args:
        open_catalog: Opens the catalog, at the first question.
    """

    def __init__(self, open_catalog: Callable[[], Catalog]) -> None:
        self._open_catalog = open_catalog
        self._catalog: Catalog | None = None
        self._lock = Lock()
        self._known: TTLCache[str, float | None] = TTLCache(maxsize=256, ttl=LOOK_SECONDS)

    def seconds_since(self, relation: Relation, *, batch_only: bool) -> float | None:
        """Return the time since the newest commit; None if there was none.

        Raises:
            Exception: Whatever the catalog raises when it is away.
        """
        contract = schemas.contract(relation.contract if relation.minutes is None else MINUTES)
        names = [contract.name]
        if contract.speed_twin and relation.is_merged and not batch_only:
            names.append(contract.speed_twin)
        moments = [moment for name in names if (moment := self._committed_at(name)) is not None]
        return max(0.0, time.time() - max(moments)) if moments else None

    @cachedmethod(lambda self: self._known, lock=lambda self: self._lock)
    def _committed_at(self, name: str) -> float | None:
        if self._catalog is None:
            self._catalog = self._open_catalog()
        try:
            snapshot = self._catalog.load_table(name).current_snapshot()
        except NoSuchTableError:
            return None
        return None if snapshot is None else snapshot.timestamp_ms / 1000
