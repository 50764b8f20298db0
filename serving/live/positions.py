"""One client: all of the client's fills, and the positions that they make.

The definition is that of `lakehouse.transforms.fills.resolve` and `lakehouse.transforms.positions`:
signed quantity and basis are carried from fill to fill in the order of (event time, fill id).
"""

from bisect import insort
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from lakehouse.kafka import FILLS_TOPIC
from serving.live.digits import half_up, instant, micros, text, units
from serving.live.relations import RELATIONS, Values
from serving.live.rules import FILL_RULES

Instrument = tuple[str, str]


class Counted(NamedTuple):
    """A fill's first report: microseconds, and units of 10⁻⁸; the size of a sale is negative."""

    time: int
    fill_id: int
    size: int
    price: int
    fee: int


class Fill:
    """Everything that was said about one fill; in which order does not matter."""

    __slots__ = ("busted", "instrument", "last_offset", "report", "reported_at")

    def __init__(self) -> None:
        self.reported_at: int | None = None
        self.report: Counted | None = None
        self.instrument: Instrument | None = None
        self.busted = False
        self.last_offset = -1

    @property
    def counted(self) -> Counted | None:
        """The fill as its position counts it; None if it counts nothing."""
        return None if self.busted else self.report


class Position:
    """The fills of one instrument that count, in their order, and what they come to."""

    def __init__(self) -> None:
        self.last_offset = -1
        self._fills: list[Counted] = []
        self._held = self._basis = self._fees = 0
        # Quantity (10⁻⁸) and notional (10⁻¹⁶) of purchases and of sales.
        self._bought, self._sold = [0, 0], [0, 0]

    def count_in(self, fill: Counted) -> None:
        """Let a fill take its place; all that come after it are carried anew."""
        if not self._fills or self._fills[-1] < fill:
            self._fills.append(fill)
            self._carry(fill)
        else:
            insort(self._fills, fill)
            self._carry_all_again()

    def count_no_more(self, fill: Counted) -> None:
        """Take a fill out."""
        self._fills.remove(fill)
        self._carry_all_again()

    def values(self) -> Values:
        """Return the columns of ``gold.positions`` that follow from the fills."""
        fills, held = self._fills, self._held
        cost_basis = -self._basis if held < 0 else self._basis
        return {
            "quantity": text(held, 8),
            "average_cost": text(half_up(self._basis, abs(held)), 8) if held else None,
            "cost_basis": text(cost_basis, 16),
            "realised_pnl": text(self._sold[1] - self._bought[1] + cost_basis, 16),
            "fees": text(self._fees, 8),
            "fill_count": len(fills),
            "bought_quantity": text(self._bought[0], 8),
            "bought_notional": text(self._bought[1], 16),
            "sold_quantity": text(self._sold[0], 8),
            "sold_notional": text(self._sold[1], 16),
            "first_fill_at": instant(fills[0].time if fills else None),
            "last_fill_at": instant(fills[-1].time if fills else None),
        }

    def _carry(self, fill: Counted) -> None:
        held, size, price = self._held, fill.size, fill.price
        self._held = left = held + size
        if held * size >= 0:  # on its side, or on none
            self._basis += abs(size) * price
        elif held * left < 0:  # flips
            self._basis = abs(left) * price
        else:
            self._basis = abs(left) * half_up(self._basis, abs(held))
        self._fees += fill.fee
        side = self._bought if size > 0 else self._sold
        side[0] += abs(size)
        side[1] += abs(size) * price

    def _carry_all_again(self) -> None:
        self._held = self._basis = self._fees = 0
        self._bought, self._sold = [0, 0], [0, 0]
        for fill in self._fills:
            self._carry(fill)


class Client:
    """A client's fills by id, and positions by instrument."""

    relation = RELATIONS["positions"]
    topic, dataset, history = FILLS_TOPIC, "fills", "silver.fills"
    rules = FILL_RULES
    recalled: ClassVar[tuple[str, ...]] = (
        *("customer_id", "fill_id", "venue", "symbol", "event_time"),
        *("side", "quantity", "price", "fee", "fill_position", "bust_position", "last_offset"),
    )
    most_groups = 1_000

    def __init__(self, group: str, start: int, partition: int) -> None:  # noqa: ARG002 - all time
        """Begin with nothing.

        Args:
            group: The client: see `group_of`.
            start: Of no meaning: a position is of all time.
            partition: Of the log, that all of the events are in.
        """
        self._customer, self._partition = group, partition
        self._fills: dict[int, Fill] = {}
        self._positions: dict[Instrument, Position] = {}
        self._changed: dict[Instrument, Position] = {}

    @staticmethod
    def group_of(event: Mapping[str, Any]) -> str:
        """Return what is loaded and forgotten together: the client."""
        return str(event["customer_id"])

    @staticmethod
    def minute_of(event: Mapping[str, Any]) -> int:  # noqa: ARG004 - a position is of all time
        """Return the only stretch of time that there is."""
        return 0

    def take(self, event: Mapping[str, Any], position: int) -> None:
        """Take in an accepted event of the client."""
        is_report = event["event_type"] == "FILL"
        self._fold(event, position if is_report else None, not is_report, position)

    def recall(self, row: Mapping[str, Any]) -> None:
        """Take in a row of ``silver.fills``."""
        self._fold(row, row["fill_position"], row["bust_position"] is not None, row["last_offset"])

    def rows(self) -> Iterator[Values]:
        """Yield the positions that have changed since last asked."""
        changed, self._changed = self._changed, {}
        for (venue, symbol), position in changed.items():
            yield {
                "customer_id": self._customer,
                "venue": venue,
                "symbol": symbol,
                **position.values(),
                "log_partition": self._partition,
                "last_offset": position.last_offset,
            }

    def _fold(
        self, said: Mapping[str, Any], reported_at: int | None, busted: bool, last_offset: int
    ) -> None:
        fill = self._fills.setdefault(said["fill_id"], Fill())
        before = fill.counted
        fill.busted |= busted
        fill.last_offset = max(fill.last_offset, last_offset)
        if reported_at is not None and (fill.reported_at is None or reported_at < fill.reported_at):
            fill.reported_at, fill.report = reported_at, _report(said)
            fill.instrument = said["venue"], said["symbol"]
        if fill.instrument is None:
            return  # a bust that waits for its fill belongs to no position
        position = self._positions.setdefault(fill.instrument, Position())
        position.last_offset = max(position.last_offset, fill.last_offset)
        self._changed[fill.instrument] = position
        if before != fill.counted:
            if before is not None:
                position.count_no_more(before)
            if fill.counted is not None:
                position.count_in(fill.counted)


def _report(said: Mapping[str, Any]) -> Counted:
    size = units(said["quantity"])
    return Counted(
        micros(said["event_time"]),
        said["fill_id"],
        size if said["side"] == "BUY" else -size,
        units(said["price"]),
        units(said["fee"]),
    )
