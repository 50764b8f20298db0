"""Log positions: offsets that stay ordered when a topic is made again.

A Kafka offset means something only within one incarnation of its topic. A *log position* is the
pair (generation, offset) folded into one 64-bit number, so that every position of a later
generation sorts after every position of an earlier one, and a position of generation 0 reads as
the plain Kafka offset.
"""

from typing import NamedTuple

# 10**15 offsets a partition last 31 years at a million events a second; 9,222 generations fit
# into the rest of a signed 64-bit number. A power of ten keeps both parts readable in SQL output.
POSITIONS_PER_GENERATION = 10**15


class LogPosition(NamedTuple):
    """Where an event stands in its partition of one incarnation of a topic."""

    generation: int
    offset: int

    def encode(self) -> int:
        """Return the position as the single ordered number that tables store."""
        if not 0 <= self.offset < POSITIONS_PER_GENERATION:
            raise ValueError(f"offset {self.offset} is outside one generation of a topic")
        return self.generation * POSITIONS_PER_GENERATION + self.offset

    @classmethod
    def decode(cls, position: int) -> "LogPosition":
        """Return the generation and the Kafka offset of a stored position."""
        return cls(*divmod(position, POSITIONS_PER_GENERATION))
