"""What people ask for by hand: who asks, and whether they mean it."""

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from lakehouse_windows import window_of

log = logging.getLogger(__name__)


class NotMeantError(AirflowFailException):
    """A request that contradicts itself; another try would, too."""


def tell_who(run: Any, reason: str) -> None:
    """Put on record who has triggered a run, as far as Airflow knows."""
    who = run.triggering_user_name or "nobody whom Airflow knows by name"
    log.info("%s was triggered by %s: %s", run.run_id, who, reason)


def confirmed_customer(params: Mapping[str, Any]) -> str:
    """Return the customer of a request for erasure.

    Args:
        params: ``customer`` and ``confirm``.

    Raises:
        NotMeantError: They are not the same.
    """
    if params["customer"] != params["confirm"]:
        raise NotMeantError(
            f"confirm is {params['confirm']!r}, customer {params['customer']!r}: nothing was erased"
        )
    return str(params["customer"])


def redrive_words(params: Mapping[str, Any]) -> list[str]:
    """Return the verb that redrives the dead letters of a request.

    Args:
        params: ``reason``, ``start``, ``end``, ``topic``, ``stage``, ``max_attempts``, ``again``.

    Raises:
        lakehouse_windows.WindowError: The times are none that can be meant.
    """
    window = window_of(params, None)
    words = ["dlq", "redrive", "--json", "--reason", params["reason"]]
    words += ["--since", window["start"], "--until", window["end"]]
    for name in ("topic", "stage", "max_attempts"):
        if params[name]:
            words += [f"--{name.replace('_', '-')}", str(params[name])]
    return [*words, *(["--again"] if params["again"] else [])]
