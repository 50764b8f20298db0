"""Processes killed at random moments under load (``kill -9``): nothing is lost, nothing doubled.

A synthetic market with every fault that a feed can have is running throughout. The lander, the
speed layer and batch runs die again and again: while they start, commit, publish or wait. What is
in the lake afterwards is judged by what a plain consumer reads from the log.

The moments follow from a seed, which the report states: ``CHAOS_SEED=… pytest tests/chaos``.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from accounting import Judged, check_accounts, check_view, dead_letters, drain, market
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, embedded_lake

from lakehouse.intervals import Interval
from lakehouse.settings import Settings

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

# Each dies once more at the end, and speed beside every batch: 22 in all, a batch not counted. A
# lander starts in a second or two, a Spark driver takes ten.
LANDER_KILLS, SPEED_KILLS, BATCH_KILLS = 14, 4, 2
# Longer than a commit, a micro-batch and a batch run take once they are under way.
LANDER_SECONDS, SPEED_SECONDS, BATCH_SECONDS = 3.0, 2.5, 8.0
# Of so many lives one ends before it has begun.
STILLBORN = 0.2
STARTING_SECONDS = 1.5


@dataclass
class Victim:
    """A long-running verb that is killed and started again."""

    lake: EmbeddedLake
    verb: str
    chance: random.Random
    seconds: float
    wanted_kills: int
    kills: int = 0
    recovery_seconds: list[float] = field(default_factory=list)
    _began_at: float = 0.0
    _dies_at: float | None = None

    def begin(self) -> None:
        """Start it."""
        self.lake.start(self.verb)
        self._began_at, self._dies_at = time.monotonic(), None
        if self.chance.random() < STILLBORN:
            self._dies_at = self._began_at + self.chance.uniform(0, STARTING_SECONDS)

    def step(self) -> None:
        """Kill it if its time has come, and start it again; return at once otherwise."""
        now = time.monotonic()
        if self.kills >= self.wanted_kills:
            return
        if self._dies_at is not None:
            if now >= self._dies_at:
                self.kill()
                self.begin()
        elif self.lake.is_ready(self.verb):
            self.recovery_seconds.append(now - self._began_at)
            self._dies_at = now + self.chance.uniform(0, self.seconds)
        else:
            late = now - self._began_at > DEADLINE_SECONDS
            assert not late, f"{self.verb} does not start:\n{self.lake.tail(self.verb)}"

    def kill(self) -> None:
        """Kill it for now."""
        self.lake.kill(self.verb)
        self.kills += 1


def kill_batch(lake: EmbeddedLake, interval: Interval, chance: random.Random) -> bool:
    """Start a batch run and kill it at work; return whether it was not faster."""
    before = runs(lake)
    bounds = ("--start", interval.start.isoformat(), "--end", interval.end.isoformat())
    with lake.spawn("batch", *bounds) as process:
        try:
            lake.wait_until(
                lambda: runs(lake) > before or process.poll() is not None, "the batch run starts"
            )
            dies_at = time.monotonic() + chance.uniform(0, BATCH_SECONDS)
            lake.wait_until(
                lambda: time.monotonic() >= dies_at or process.poll() is not None, "it is time"
            )
        finally:
            alive = process.poll() is None
            if alive:
                os.killpg(process.pid, signal.SIGKILL)
        assert alive or process.wait() == 0, lake.tail("batch")
    return alive


def runs(lake: EmbeddedLake) -> int:
    """How many records there are of runs."""
    snapshot = lake.catalog.load_table("ops.runs").current_snapshot()
    return 0 if snapshot is None else int((snapshot.summary or {}).get("total-records") or 0)


def test_killed_at_random_moments(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
    began_at = time.monotonic()
    start = datetime.now(UTC) - timedelta(minutes=1)
    settings = Settings(home=tmp_path_factory.mktemp("chaos"), spark_driver_memory="1g")
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")
    with embedded_lake(settings) as lake:
        lander = Victim(lake, "land", random.Random(f"{seed} land"), LANDER_SECONDS, LANDER_KILLS)
        speed = Victim(lake, "speed", random.Random(f"{seed} speed"), SPEED_SECONDS, SPEED_KILLS)
        chance = random.Random(f"{seed} batch")

        with market(lake, seed):
            for victim in (lander, speed):
                victim.begin()
            while any(victim.kills < victim.wanted_kills for victim in (lander, speed)):
                for victim in (lander, speed):
                    victim.step()
                time.sleep(0.005)  # the grain of the moments, not a wait for something
            for victim in (lander, speed):
                victim.kill()
        first = drain(lake)
        check_accounts(lake, first)
        assert check_view(lake, first) == {"PROVISIONAL"}

        batch_kills = 0
        with market(lake, seed + 1):
            lake.start("land")
            for _ in range(BATCH_KILLS):
                while not kill_batch(lake, Interval(start, lake.ingested_through()), chance):
                    pass
                batch_kills += 1
                # What a half-published run left is read by a speed layer that starts on it.
                speed.begin()
                lake.wait_until(lambda: lake.is_ready("speed"), "the speed layer runs")
                speed.kill()
            lake.supervisor.stop("land")
        second = drain(lake)
        check_accounts(lake, second)
        check_view(lake, second)

        end = lake.ingested_through()
        bounds = ("--start", start.isoformat(), "--end", end.isoformat(), "--json")
        lake.run("batch", *bounds)
        check_view(lake, second)
        assert dead_letters(lake, "batch") == Counter(dict.fromkeys(second.refused, 1))
        for attempt in range(2):
            records = json.loads(lake.run("reconcile", *bounds))
            assert {record["verdict"] for record in records} == {"AGREE"}
            assert check_view(lake, second) == {"RECONCILED"}, attempt
        # Nothing else was in the log.
        of_trades = {record["table"]: record["pruned"] for record in records if record["pruned"]}
        assert set(of_trades) == {"silver.trades", "gold.bars_1m"}
        check_accounts(lake, second)

    assert lander.kills + speed.kills >= 20
    with capsys.disabled():
        seconds = time.monotonic() - began_at
        print(f"seed {seed}, {seconds:.0f} s")
        print(report((lander, speed), batch_kills, second))


def report(victims: tuple[Victim, ...], batch_kills: int, judged: Judged) -> str:
    killed = [f"{victim.kills} {victim.verb}" for victim in victims] + [f"{batch_kills} batch"]
    kinds = Counter(event.event["event_type"] for event in judged.events)
    counted = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    lines = [
        f"{sum(victim.kills for victim in victims) + batch_kills} kills: {', '.join(killed)}",
        f"{len(judged.records)} messages, each accounted for once: {len(judged.events)} accepted "
        f"({', '.join(counted)}; {judged.duplicates} duplicates), "
        f"{len(judged.records) - len(judged.events)} dead letters",
    ]
    for victim in victims:
        times = ", ".join(f"{seconds:.1f}" for seconds in victim.recovery_seconds)
        lines.append(f"{victim.verb} was at work again after {times} s")
    return "\n".join(lines)
