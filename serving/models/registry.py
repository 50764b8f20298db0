"""The tasks that there are models for."""

from collections.abc import Mapping

from serving.models.anomalies import ANOMALOUS_TRADES
from serving.models.task import Task
from serving.models.volatility import NEXT_VOLATILITY

TASKS: Mapping[str, Task] = {task.model: task for task in (NEXT_VOLATILITY, ANOMALOUS_TRADES)}
