"""How far the live tier has read: a message of its own in each topic, once a second."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Progress:
    """What the rows before this message tell.

    Attributes:
        said_at: Seconds since the epoch, by the live tier's clock, as all times here.
        seen_through: Every event that was in the log by then is told, but for those of stretches
            that were left out. It stands still while an event waits for what came before it.
        positions: By log partition, the highest log position that was read.
    """

    said_at: float
    seen_through: float
    positions: Mapping[int, int]

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
            return cls(float(said["said_at"]), float(said["seen_through"]), positions)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no progress: {value[:100]!r}") from error
