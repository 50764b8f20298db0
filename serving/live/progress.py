"""How far the live tier has read: a message of its own in each topic, once a second."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self


@dataclass(frozen=True)
class Progress:
    """What the rows before this message tell.

    Attributes:
        said_at: Seconds since the epoch, by the live tier's clock, as all times here.
        seen_through: Every event that was in the log by then is told, but for those of stretches
            that were left out. It stands still while an event waits for what came before it.
        positions: By log partition, the highest log position that was read.
        poison: By log partition, the positions of the latest events that were set aside as poison:
            a row that has one of them for its last was told before that was known, and is void.
    """

    said_at: float
    seen_through: float
    positions: Mapping[int, int]
    poison: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @property
    def age_seconds(self) -> float:
        """The greatest age that an event may have had, when this was said, that was not told."""
        return max(0.0, self.said_at - self.seen_through)

    def encode(self) -> bytes:
        """Return the message's value."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return what a message's value says.

        Raises:
            ValueError: It says nothing of the kind.
        """
        try:
            said = json.loads(value)
            positions = {int(partition): int(at) for partition, at in said["positions"].items()}
            poison = {
                int(partition): [*map(int, at)] for partition, at in said.get("poison", {}).items()
            }
            return cls(float(said["said_at"]), float(said["seen_through"]), positions, poison)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no progress: {value[:100]!r}") from error
