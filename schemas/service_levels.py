"""What a contract promises of a table: how long rows are kept, how fresh they are."""

import math
from collections.abc import Iterable, Mapping

from open_data_contract_standard.model import ServiceLevelAgreementProperty

from schemas.contract import StatementError

DAYS_PER_UNIT = {"d": 1.0, "y": 365.2425}
SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNTIL_PRUNED = "until_pruned"
KEPT = "kept"

ServiceLevels = Iterable[ServiceLevelAgreementProperty]


def retention_days(stated: ServiceLevels, element: str) -> int | None:
    """Return for how many days rows are kept; None when no age ends them.

    Those of a speed twin go when reconciliation prunes them. Others may have to be kept, such as
    what is folded whole again and again; the contract then says why.

    Raises:
        StatementError: It is not stated for the element, or is no length of time; or rows are kept
            for no reason.
    """
    level = _level(stated, "retention", element)
    if level.value == KEPT and not (level.description or "").strip():
        raise StatementError(
            f"slaProperties.retention({element}).description", "must say why rows are kept for ever"
        )
    if level.value in (UNTIL_PRUNED, KEPT):
        return None
    # Rounded up, so that a leap year never shortens what was promised.
    return math.ceil(_scaled(level, DAYS_PER_UNIT))


def freshness_seconds(stated: ServiceLevels, element: str) -> float:
    """Return how long after it was produced an event is to be in the table, in seconds.

    Raises:
        StatementError: It is not stated for the element, or is no length of time.
    """
    return _scaled(_level(stated, "latency", element), SECONDS_PER_UNIT)


def _level(stated: ServiceLevels, name: str, element: str) -> ServiceLevelAgreementProperty:
    for level in stated:
        if level.property == name and level.element == element:
            return level
    raise StatementError(f"slaProperties.{name}", f"is not stated for element {element}")


def _scaled(level: ServiceLevelAgreementProperty, scale: Mapping[str, float]) -> float:
    where, value = f"slaProperties.{level.property}({level.element})", level.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise StatementError(f"{where}.value", f"{value!r} is not a positive number")
    if level.unit is None or level.unit not in scale:
        raise StatementError(f"{where}.unit", f"{level.unit!r} is not one of {sorted(scale)}")
    return value * scale[level.unit]
