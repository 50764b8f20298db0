"""Every dataset of the batch layer: a module for each says from what it is made, and how."""

from collections.abc import Sequence

from batch.dataset import Dataset
from batch.datasets.customers import Customers
from batch.datasets.fills import Fills
from batch.datasets.quotes import Quotes
from batch.datasets.trades import Trades
from lakehouse.errors import LakehouseError

DATASETS: tuple[Dataset, ...] = (Trades(), Quotes(), Customers(), Fills())


class UnknownDatasetError(LakehouseError):
    """There is no dataset of that name."""

    exit_code = 2


def chosen(names: Sequence[str] | None) -> list[Dataset]:
    """Return the datasets of some names, in the order in which they are built; all without any.

    Raises:
        UnknownDatasetError: There is none of a name; the message lists those that there are.
    """
    known = [dataset.name for dataset in DATASETS]
    for name in names or ():
        if name not in known:
            raise UnknownDatasetError(f"no dataset {name!r}; there are {', '.join(known)}")
    return [dataset for dataset in DATASETS if dataset.name in (names or known)]


def sharing(datasets: Sequence[Dataset]) -> list[tuple[Dataset, ...]]:
    """Return datasets with those that write some of the same tables, group by group, in order.

    The tables of a group hold nothing but what follows from its streams.
    """
    groups: list[tuple[Dataset, ...]] = []
    for dataset in datasets:
        if any(dataset in group for group in groups):
            continue
        tables, members = set(dataset.tables), {dataset.name}
        while more := {one.name for one in DATASETS if tables & {*one.tables}} - members:
            members |= more
            tables |= {table for one in DATASETS if one.name in more for table in one.tables}
        groups.append(tuple(one for one in DATASETS if one.name in members))
    return groups
