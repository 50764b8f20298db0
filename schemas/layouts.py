"""Where in a payload its event time stands: the lander reads it without decoding the rest."""

from collections.abc import Mapping
from typing import Any

from lakehouse.errors import LakehouseError

# The kinds of a record's fields up to and with its event time: ``text`` or ``number``.
Layout = tuple[str, ...]


class UnreadableSchemaError(LakehouseError):
    """A schema has something before its event time that cannot be skipped."""


def layout_of(schema: Mapping[str, Any], event_time: str) -> Layout:
    """Return the kinds of a record's fields up to and with the event time.

    Raises:
        UnreadableSchemaError: One of them is neither text nor an integer, or there is no event
            time.
    """
    kinds: list[str] = []
    for field in schema["fields"]:
        kind = field["type"]
        kind = kind["type"] if isinstance(kind, dict) else kind
        if kind not in ("string", "bytes", "int", "long"):
            break
        kinds.append("text" if kind in ("string", "bytes") else "number")
        if field["name"] == event_time and kinds[-1] == "number":
            return tuple(kinds)
    raise UnreadableSchemaError(
        f"schema {schema['name']}: {event_time} must be an integer with only text and integers "
        "before it; add new fields behind it"
    )
