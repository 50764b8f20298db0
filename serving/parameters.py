"""What clients may name, and which times they may tell of."""

from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

FIRST_YEAR, LAST_YEAR = 1970, 2200
# Rows are named by what venues, exchanges and the CRM use: no letter that ends a line or a string.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$"


def _only_text(value: object) -> object:
    # Pydantic takes a number, bare or as text, for seconds since 1970.
    if isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)):
        raise ValueError(f"{value} is no ISO 8601 time")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _within_reason(value: Any) -> Any:
    # Engines know fewer years than Python; none has heard of the market in others than these.
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"the year must be from {FIRST_YEAR} to {LAST_YEAR}")
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_only_text),
    AfterValidator(_within_reason),
    Field(examples=["2024-08-09T00:00:00Z"]),
]
Day = Annotated[
    date,
    BeforeValidator(_only_text),
    AfterValidator(_within_reason),
    Field(examples=["2024-08-09"]),
]
