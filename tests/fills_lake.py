"""The whole lake in one process once more, on clients' fills."""

from collections.abc import Mapping
from typing import Any, ClassVar

from fill_log import payload
from small_lake import SmallLake

from batch.dataset import Dataset
from batch.datasets.fills import Fills as FillsDataset
from speed.flow import Flow
from speed.flows.fills import Fills as FillsFlow


class FillsLake(SmallLake):
    """The log holds events about fills; its key is the customer."""

    flow: ClassVar[Flow] = FillsFlow()
    dataset: ClassVar[Dataset] = FillsDataset()

    def encode(self, event: Mapping[str, Any]) -> bytes:
        return payload(**event)

    def key(self, event: Mapping[str, Any]) -> str:
        return str(event["customer_id"])
