"""Cursors: the place in a relation's order that a page ended at.

A place is the values that the last row has in the columns that rows are ordered by. So a walk
gives each row once, however many rows come meanwhile: those that sort behind the place are yet to
come, those before it are not looked for.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from pyiceberg.types import DateType, IntegerType, LongType, TimestamptzType

from serving.api import problems
from serving.api.asking import Ask, Value
from serving.api.problems import ProblemError
from serving.api.relations import Relation

Place = tuple[Value, ...]
_FINGERPRINT_BYTES = 8
_LONGS = range(-(2**63), 2**63)
_FOREIGN = "the cursor belongs to another query: only limit may differ from the page before"


def order_columns(relation: Relation) -> tuple[str, ...]:
    """Return the columns that rows are ordered by, without the sign of their direction."""
    return tuple(name.removeprefix("-") for name in relation.order)


def place_in(relation: Relation, row: Mapping[str, Any]) -> Place:
    """Return the place of a row in a relation's order."""
    return tuple(row[name] for name in order_columns(relation))


def cursor_after(ask: Ask, last_row: Mapping[str, Any]) -> str:
    """Return the cursor of the page that follows the row."""
    place = map(_spelled, place_in(ask.relation, last_row))
    text = json.dumps([_fingerprint(ask), *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(ask: Ask) -> Place | None:
    """Return the place that the query goes on from; None for its beginning.

    Raises:
        ProblemError: The cursor was not made by this API, or for another query.
    """
    if ask.after is None:
        return None
    padding = "=" * (-len(ask.after) % 4)
    try:
        text = base64.b64decode(ask.after + padding, altchars=b"-_", validate=True)
        fingerprint, *place = json.loads(text)
        columns = [ask.relation.column(name) for name in order_columns(ask.relation)]
        values = tuple(
            _read(spelled, column.type) for spelled, column in zip(place, columns, strict=True)
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        said = "the cursor is none of this API's: give `next` of the page before as it was"
        raise ProblemError(problems.INVALID_CURSOR, said) from error
    if fingerprint != _fingerprint(ask):
        raise ProblemError(problems.INVALID_CURSOR, _FOREIGN)
    return values


def _fingerprint(ask: Ask) -> str:
    asked = (ask.relation.name, ask.tier, ask.as_of, ask.named, ask.start, ask.end)
    digest = hashlib.sha256(repr(asked).encode()).digest()
    return digest[:_FINGERPRINT_BYTES].hex()


def _spelled(value: Any) -> str | int:
    return value.isoformat() if isinstance(value, date) else value


def _read(spelled: Any, kind: object) -> Value:
    """Return a value of a cursor; anybody can make one up, and engines fail on what fits no column.

    Raises:
        ValueError: It is none that a column of the kind may have.
        TypeError: Likewise.
        OverflowError: It is a time that there is not in UTC.
    """
    match kind:
        case TimestamptzType():
            moment = datetime.fromisoformat(spelled)
            if moment.tzinfo is None:
                raise ValueError(f"{spelled} has no zone")
            return moment.astimezone(UTC)
        case DateType():
            return date.fromisoformat(spelled)
        case LongType() | IntegerType():
            if not isinstance(spelled, int) or isinstance(spelled, bool) or spelled not in _LONGS:
                raise TypeError(f"{spelled!r} is no integer of eight bytes")
            return spelled
        case _:
            if not isinstance(spelled, str) or "\0" in spelled:
                raise TypeError(f"{spelled!r} is no text")
            spelled.encode()  # half a letter is none
            return spelled
