"""A simulated CRM: its customers' changes as they are captured, with a feed's faults.

The changes are a function of the profile alone: the same profile gives the same changes.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ingestion.crm.changes import CREATED, DELETED, READ, UPDATED, CustomerChange, CustomerRow
from ingestion.crm.people import changed, new_customer
from ingestion.faults import MAX_OVERTAKEN, FaultShares, LoadProfileError

DATABASE: Final = "crm"
TABLE: Final = "customers"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROSECONDS_PER_SECOND: Final = 1_000_000
# From a change to its capture.
_LAG_US: Final = (20_000, 500_000)
# A log's numbers are positions in bytes: they grow by what each change takes.
_FIRST_LSN: Final = 24_000_000
_LSN_STEP: Final = (56, 900)
# Changes of one customer that follow one another, in half of the cases in one transaction.
_BURST: Final = (2, 4)
# How many customers a part of a snapshot reads again.
_CHUNK: Final = (1, 4)
_WEIGHTS: Final = {"update": 60, "burst": 12, "delete": 8, "recreate": 8, "reread": 8, "create": 4}


@dataclass(frozen=True, kw_only=True)
class CrmProfile(FaultShares):
    """What the CRM goes through.

    Attributes:
        start: Time of the first change, with its time zone.
        customers: Customers at the start: one half is read by a snapshot, the other created.
        changes: Changes after that: updates, deletes, re-creations, reads of another snapshot.
        seed: Another seed gives another history.
        pace_seconds: Time between two changes, on average.
    """

    start: datetime
    customers: int = 100
    changes: int = 1_000
    seed: int = 0
    pace_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a profile that cannot be simulated."""
        if self.customers < 1 or self.changes < 0:
            raise LoadProfileError("at least one customer is needed, and no less than no changes")
        if not self.pace_seconds > 0:
            raise LoadProfileError(f"pace_seconds is {self.pace_seconds}, not positive")
        if self.start.tzinfo is None:
            raise LoadProfileError("start needs a time zone, as in 2024-08-08T12:00:00Z")
        super().__post_init__()


def sent_changes(profile: CrmProfile) -> Iterator[CustomerChange]:
    """Yield the changes in the order in which they reach the log: repeated, some overtaken."""
    dice = random.Random(profile.seed)  # noqa: S311 - a simulation, not secrets
    waiting: list[tuple[int, int, CustomerChange]] = []
    for number, change in enumerate(captured_changes(profile)):
        while waiting and waiting[0][0] <= number:
            yield heapq.heappop(waiting)[2]
        overtaken, repeated = dice.random(), dice.random()
        due = number + dice.randint(1, MAX_OVERTAKEN)
        if overtaken < profile.out_of_order:
            heapq.heappush(waiting, (due, number, change))
        else:
            yield change
        if repeated < profile.duplicate:
            again = due + dice.randint(1, MAX_OVERTAKEN)
            heapq.heappush(waiting, (again, number, change))
    while waiting:
        yield heapq.heappop(waiting)[2]


def captured_changes(profile: CrmProfile) -> Iterator[CustomerChange]:
    """Yield the changes in the order in which the CRM made them, each once."""
    crm = _Crm(profile)
    for number in range(1, profile.customers + 1):
        yield crm.arrive(number)
    made = 0
    while made < profile.changes:
        for change in crm.happen():
            yield change
            made += 1
            if made == profile.changes:
                return


class _Crm:
    """The table of customers, its log and its clock."""

    def __init__(self, profile: CrmProfile) -> None:
        self._random = random.Random(profile.seed)  # noqa: S311 - a simulation, not secrets
        self._present: dict[str, CustomerRow] = {}
        self._gone: dict[str, CustomerRow] = {}
        self._now = (profile.start - _EPOCH) // _MICROSECOND
        self._pace = profile.pace_seconds * _MICROSECONDS_PER_SECOND
        self._lsn = _FIRST_LSN
        self._ids = 0

    def arrive(self, number: int) -> CustomerChange:
        """Take in a customer of the start."""
        row = self._new()
        return self._read(row) if number % 2 else self._write(CREATED, None, row)

    def happen(self) -> Iterator[CustomerChange]:
        """Let one thing happen; what cannot, such as a delete without customers, is a creation."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        kind = self._random.choices(kinds, weights)[0]
        if kind == "recreate" and self._gone:
            yield self._recreate()
        elif kind in ("create", "recreate") or not self._present:
            yield self._write(CREATED, None, self._new())
        elif kind == "reread":
            for row in self._some(self._random.randint(*_CHUNK)):
                yield self._read(row)
        elif kind == "delete":
            (row,) = self._some(1)
            yield self._write(DELETED, row, None)
        else:
            yield from self._update(self._random.randint(*_BURST) if kind == "burst" else 1)

    def _update(self, times: int) -> Iterator[CustomerChange]:
        (row,) = self._some(1)
        in_one_transaction = bool(self._random.getrandbits(1))
        for number in range(times):
            now = changed(self._random, row)
            yield self._write(UPDATED, row, now, same_time=bool(number) and in_one_transaction)
            row = now

    def _recreate(self) -> CustomerChange:
        customer = self._random.choice(sorted(self._gone))
        return self._write(CREATED, None, changed(self._random, self._gone.pop(customer)))

    def _new(self) -> CustomerRow:
        self._ids += 1
        return new_customer(self._random, self._ids)

    def _some(self, count: int) -> list[CustomerRow]:
        chosen = self._random.sample(sorted(self._present), min(count, len(self._present)))
        return [self._present[customer] for customer in chosen]

    def _read(self, row: CustomerRow) -> CustomerChange:
        """Let a snapshot read a row: it shows the table as of the log's present end."""
        self._present[row["customer_id"]] = row
        self._tick()
        return self._change(READ, None, row, snapshot=True)

    def _write(
        self,
        op: str,
        before: CustomerRow | None,
        after: CustomerRow | None,
        *,
        same_time: bool = False,
    ) -> CustomerChange:
        if not same_time:
            self._tick()
        self._lsn += self._random.randint(*_LSN_STEP)
        if after is not None:
            self._present[after["customer_id"]] = after
        elif before is not None:
            self._gone[before["customer_id"]] = self._present.pop(before["customer_id"])
        return self._change(op, before, after, snapshot=False)

    def _change(
        self, op: str, before: CustomerRow | None, after: CustomerRow | None, *, snapshot: bool
    ) -> CustomerChange:
        return {
            "op": op,
            "ts_us": self._now + self._random.randint(*_LAG_US),
            "before": before,
            "after": after,
            "source": {
                "name": DATABASE,
                "table": TABLE,
                "lsn": self._lsn,
                "snapshot": snapshot,
                "ts_us": self._now,
            },
        }

    def _tick(self) -> None:
        self._now += 1 + int(self._random.expovariate(1 / self._pace))
