"""Where a dead letter stands, and which dead letter an event that was sent again goes back to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from lakehouse.errors import LakehouseError

# Headers of an event that was sent again. The dead letter that it was made of:
OF: Final = "redrive-of"
# The one that was refused first; another than that when it is not the first try.
ORIGIN: Final = "redrive-origin"
# How often the origin has been sent again, this time included.
ATTEMPT: Final = "redrive-attempt"
# The run of `lakehouse dlq redrive`, as in ops.redrives.
REDRIVE_ID: Final = "redrive-id"

_PARTS: Final = 4
# What Kafka allows.
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class CoordinatesError(LakehouseError):
    """A text that names no place in the log."""

    exit_code = 2


class Coordinates(NamedTuple):
    """Where a message stands in the log; as text ``topic/generation/partition/offset``."""

    topic: str
    generation: int
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.generation}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read coordinates.

        Raises:
            CoordinatesError: The text is none.
        """
        topic, *numbers = text.split("/")
        if (
            not _TOPIC.fullmatch(topic)
            or len(numbers) != _PARTS - 1
            or not all(map(_is_number, numbers))
        ):
            raise CoordinatesError(
                f"{text!r} is not topic/generation/partition/offset, such as market.trades/0/3/1234"
            )
        generation, partition, offset = map(int, numbers)
        return cls(topic, generation, partition, offset)


@dataclass(frozen=True)
class Lineage:
    """What a dead letter goes back to.

    Attributes:
        origin: The dead letter that was refused first; itself, if it was never sent again.
        attempts: How often the origin had been sent again to become this one.
    """

    origin: Coordinates
    attempts: int

    @classmethod
    def of(cls, letter: Coordinates, headers: Mapping[str, bytes]) -> Self:
        """Return what the headers of a dead letter say of its past.

        Anybody may write headers: what makes no sense is taken for a letter without a past.
        """
        try:
            origin = Coordinates.parse(headers[ORIGIN].decode())
            return cls(origin, max(1, int(headers[ATTEMPT])))
        except (KeyError, ValueError, CoordinatesError):
            return cls(letter, 0)


def link(
    letter: Coordinates, origin: Coordinates, *, attempt: int, redrive_id: str
) -> dict[str, bytes]:
    """Return the headers that link a new event to the dead letter that it is made of."""
    said = {OF: str(letter), ORIGIN: str(origin), ATTEMPT: str(attempt), REDRIVE_ID: redrive_id}
    return {name: text.encode() for name, text in said.items()}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
