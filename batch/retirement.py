"""How far a table's rows were retired: recorded on the table, and never taken back.

A late event may be about time whose rows are gone. What is made of all rows of an hour or a day
must then not be made of the few that are left or come back. Age does not tell: a recording of years
ago is played today, and nobody has retired it. So retirement leaves a mark, and batch goes by that.
"""

from collections.abc import Iterable
from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from lakehouse.audit_trail import COMMIT_BUDGET_SECONDS
from lakehouse.resilience import retrying

# The table property: a time, ISO 8601, UTC. It belongs to the table, not to a snapshot: a branch
# that is older than a retirement is bound by it, too.
RETIRED_BEFORE = "lakehouse.retired-before"


def retired_before(table: Table) -> datetime | None:
    """Return the time before which a table's rows were retired; None if none ever were."""
    stated = table.properties.get(RETIRED_BEFORE)
    return None if stated is None else datetime.fromisoformat(stated)


def marks(catalog: Catalog, tables: Iterable[str]) -> dict[str, datetime]:
    """Return by table the time before which its rows were retired; the others are left out."""
    stated = {name: retired_before(catalog.load_table(name)) for name in tables}
    return {name: time for name, time in stated.items() if time is not None}


def mark_retired(catalog: Catalog, name: str, before: datetime) -> None:
    """Record that a table's rows before a time (UTC) are being retired; it never goes back.

    To be recorded before the first row goes: whoever finds that rows are gone finds the mark, too.
    """

    @retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
    def mark() -> None:
        table = catalog.load_table(name)
        known = retired_before(table)
        if known is None or known < before:
            with table.transaction() as changes:
                changes.set_properties({RETIRED_BEFORE: before.isoformat()})

    mark()
