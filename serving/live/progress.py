"""How far the live tier has read: a message of its own in each topic, once a second."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Progress:
    """What the rows before this message tell.

    Attributes:
        seen_through: Seconds since the epoch: every event that was in the log by then is told, but
            for those of windows that wait for their earlier events.
        positions: By log partition, the highest log position that was read.
    """

    seen_through: float
    positions: Mapping[int, int]

    def encode(self) -> bytes:
        """Return the message's value."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return what a message's value says."""
        said = json.loads(value)
        return cls(said["seen_through"], {int(p): at for p, at in said["positions"].items()})
