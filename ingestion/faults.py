"""Made messages with the faults that real ones have, mixed by their shares."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, TypeVar

from lakehouse.errors import LakehouseError

# A message that others overtake is overtaken by up to so many.
MAX_OVERTAKEN: Final = 200
_MAX_NOISE_BYTES: Final = 64
# How bytes that are no event begin: anyhow, as a message of an unknown schema, as JSON.
_FRAMINGS: Final = (b"", b"\x00\x7f\xff\xff\xff", b"{")

_Moment = TypeVar("_Moment")
_Message = TypeVar("_Message")


class LoadProfileError(LakehouseError):
    """A load profile cannot be played; the message names the field."""

    exit_code = 2


class RawMessage(NamedTuple):
    """A message that is no event: bytes that nobody can decode."""

    key: bytes
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class FaultShares:
    """The faults that every feed has, as shares of all its messages.

    Attributes:
        duplicate: Share of messages that come again.
        out_of_order: Share of messages that later ones overtake, their own cancels perhaps too.
    """

    duplicate: float = 0.0
    out_of_order: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        check_share("duplicate", self.duplicate)
        check_share("out_of_order", self.out_of_order)


def check_share(name: str, share: float) -> None:
    """Refuse what is no share.

    Raises:
        LoadProfileError: It is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise LoadProfileError(f"{name} is {share}: not between 0 and 1")


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares that cannot be had of one whole.

    Raises:
        LoadProfileError: One is not between 0 and 1, or together they are more than 1.
    """
    for name, share in shares.items():
        check_share(name, share)
    if sum(shares.values()) > 1:
        raise LoadProfileError("the shares add up to more than 1")


def mixed(
    moments: Iterable[_Moment],
    plain: Callable[[_Moment], _Message],
    faults: Sequence[tuple[float, Callable[[_Moment], _Message]]],
    *,
    out_of_order: float,
    random: Random,
) -> Iterator[_Message]:
    """Yield a message for each moment, in the order in which they reach the log.

    Args:
        moments: When messages are made, in order.
        plain: Makes what no share is taken for.
        faults: Shares of all messages, and what makes each kind.
        out_of_order: Share of plain messages that later ones overtake.
        random: Decides; the same state gives the same messages.
    """
    bounds, bound = [], out_of_order
    for share, make in faults:
        bound += share
        bounds.append((bound, make))
    overtaken: list[tuple[int, int, _Message]] = []
    draw = random.random
    for number, moment in enumerate(moments):
        while overtaken and overtaken[0][0] <= number:
            yield heapq.heappop(overtaken)[2]
        chance = draw()
        if chance >= bound:
            yield plain(moment)
        elif chance < out_of_order:
            due = number + random.randint(1, MAX_OVERTAKEN)
            heapq.heappush(overtaken, (due, number, plain(moment)))
        else:
            yield next(make for bound, make in bounds if chance < bound)(moment)
    while overtaken:
        yield heapq.heappop(overtaken)[2]


def noise(key: bytes, random: Random) -> RawMessage:
    """Return bytes that are no event, under a key that has events."""
    body = random.randbytes(random.randrange(_MAX_NOISE_BYTES))
    return RawMessage(key, random.choice(_FRAMINGS) + body)
