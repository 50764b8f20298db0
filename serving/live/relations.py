"""What the live tier tells: its relations, and a row of each as a message of a compacted topic.

A message's key names the row: the values of the relation's key, joined by colons. Its value is the
row as JSON, with the columns of the gold table. Decimals are strings with all their digits, so that
nobody makes floats of them; times are ISO 8601 in UTC.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from lakehouse.kafka import LIVE_BARS_TOPIC, LIVE_POSITIONS_TOPIC, LIVE_SPREADS_TOPIC
from serving.output import as_text

Values = dict[str, Any]

# A message under this key is no row: it tells how far the live tier has read.
PROGRESS_KEY = "progress"
# Of the merged views' status: batch has not confirmed the row.
PROVISIONAL = "PROVISIONAL"
_HIDDEN_COLUMN = "log_partition"


@dataclass(frozen=True)
class Relation:
    """One relation of the live tier.

    Attributes:
        name: As in the merged view, such as ``bars_1m``.
        topic: Its compacted topic.
        key: The columns that name a row.
        count: The column that is 0 in a tombstone.
    """

    name: str
    topic: str
    key: tuple[str, ...]
    count: str

    @property
    def has_windows(self) -> bool:
        """Whether its rows are of minutes, which come to an end."""
        return self.key[-1] == "window_start"


_WINDOW = ("venue", "symbol", "window_start")
RELATIONS: Mapping[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation("bars_1m", LIVE_BARS_TOPIC, _WINDOW, "trade_count"),
        Relation("spreads_1m", LIVE_SPREADS_TOPIC, _WINDOW, "quote_count"),
        Relation(
            "positions", LIVE_POSITIONS_TOPIC, ("customer_id", "venue", "symbol"), "fill_count"
        ),
    )
}


class LiveRow(NamedTuple):
    """A row as it stands in the topic.

    Attributes:
        relation: Its relation's name.
        key: The message's key.
        position: The message's offset: greater in whatever came later.
        last_offset: The highest log position among the events that made it.
        values: Its values by column, as JSON knows them.
    """

    relation: str
    key: str
    position: int
    last_offset: int
    values: Values

    @property
    def log_partition(self) -> int:
        """The partition of the log that its events are in."""
        return int(self.values[_HIDDEN_COLUMN])

    @property
    def is_tombstone(self) -> bool:
        """Whether nothing is left that counts: it takes part in a merge and is hidden after it."""
        return not self.values[RELATIONS[self.relation].count]

    def shown(self) -> Values:
        """Return the row as the merged view would show it."""
        values = {name: value for name, value in self.values.items() if name != _HIDDEN_COLUMN}
        return values | {"status": PROVISIONAL}


def key_of(relation: Relation, row: Mapping[str, Any]) -> str:
    """Return the key of a row, whose times may be given as such or as text."""
    return ":".join(_spelled(row[name]) for name in relation.key)


def instrument_of(key: str) -> str:
    """Return venue and symbol of the key of a window."""
    venue, symbol, _ = key.split(":", 2)
    return f"{venue}:{symbol}"


def window_of(key: str) -> str:
    """Return when the window begins that is the key of a row."""
    return key.split(":", 2)[2]


def _spelled(value: Any) -> str:
    if isinstance(value, str) and value.endswith("Z") and "T" in value:
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return as_text(value)


def encode(values: Values) -> bytes:
    """Return a row as a message's value."""
    return json.dumps(values, separators=(",", ":")).encode()


def decode(relation: Relation, key: str, value: bytes, position: int) -> LiveRow:
    """Return the row of a message.

    Raises:
        ValueError: It holds no row of the relation, or another one than its key names.
    """
    try:
        values = json.loads(value)
        numbers = values["last_offset"], values[relation.count], values[_HIDDEN_COLUMN]
        is_row = key_of(relation, values) == key
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no row of {relation.name}: {error!r}") from error
    if not is_row or not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"no row of {relation.name} named {key}")
    return LiveRow(relation.name, key, position, values["last_offset"], values)
