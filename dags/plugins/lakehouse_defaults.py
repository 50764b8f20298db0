"""What all DAGs of the platform have in common."""

import os
from datetime import datetime, timedelta
from typing import Any

from lakehouse_alerts import tell_failure

DATASETS = ("trades", "quotes", "customers", "fills")
# Made of files, in no layer but batch.
REFERENCES = ("instruments", "eod_bars")
MODELS = ("next_minute_volatility", "anomalous_trades")
# Made at the start of Airflow, of infra/airflow/pools.json.
HOURLY_POOL = "hourly"
BACKFILL_POOL = "backfill"
UPKEEP_POOL = "upkeep"
REQUESTS_POOL = "requests"

TASKS: dict[str, Any] = {
    "owner": "data-platform",
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    # The factor from one delay to the next; as a truth value it would be one.
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "on_failure_callback": tell_failure,
}


def first_hour() -> datetime:
    """Return the start of the first hour that is processed by schedule."""
    return datetime.fromisoformat(os.environ["LAKEHOUSE_FIRST_HOUR"])


def last_hour() -> datetime | None:
    """Return the start of the last such hour; None if there is no end."""
    text = os.environ.get("LAKEHOUSE_LAST_HOUR")
    return datetime.fromisoformat(text) if text else None
