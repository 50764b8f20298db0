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
