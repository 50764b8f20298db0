"""The guided tour: the whole loop on recorded trades, as a story in steps."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from demo.freshness import FreshnessProbe, ProbeFailure, merged_positions, polling
from demo.home import PICTURES
from demo.judge import Judge
from demo.monitor import PROVISIONAL, Monitor, Observation
from demo.oracle import Verdict, events_from_sample
from demo.panels import grid, legend, verdicts
from demo.screen import Screen
from demo.signals import uninterrupted
from demo.topic import Event, TradeName, by_name
from demo.verbs import Verb, short_lived
from lakehouse import broker, embedded, operations
from lakehouse.catalog import load_catalog
from lakehouse.errors import LakehouseError
from lakehouse.intervals import HOUR, hour_of
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from serving.api.local_key import local_address
from serving.charts import Bar, draw_bars, read_bars
from serving.engine import SqlEngine

# Between two looks at everything; freshness is measured by its own, more frequent questions.
LOOK_SECONDS = 0.8
# Ten times what a busy laptop needs: this is for what hangs.
STEP_DEADLINE_SECONDS = 600.0
AROUND_THE_HOUR = timedelta(minutes=3)


Span = tuple[datetime, datetime]


class DemoStuckError(LakehouseError):
    """A step of the demo did not come to its end."""


@dataclass(kw_only=True)
class Outcome:
    """What the tour found.

    Attributes:
        events: Trades that were replayed.
        confirmed: The interval of ingestion time that batch ran over and reconciliation compared.
        rest: The one after it, which is left to the speed layer.
        midway: The verdict on the minute bars while the replay went on.
        final: The verdict on each view at the end.
        bars: How many merged minute bars are of which status at the end.
        freshness: What was measured, by name.
        batch: What the batch run reported.
        reconciliation: What the reconciliation reported, a row for each table.
        picture: The candlesticks.
        seconds: From the first step to the last.
    """

    events: int = 0
    confirmed: Span | None = None
    rest: Span | None = None
    midway: Verdict | None = None
    final: Mapping[str, Verdict] = field(default_factory=dict)
    bars: Mapping[str, int] = field(default_factory=dict)
    freshness: dict[str, Any] = field(default_factory=dict)
    batch: dict[str, Any] = field(default_factory=dict)
    reconciliation: list[dict[str, Any]] = field(default_factory=list)
    picture: Path | None = None
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether the lake said everywhere what the oracle says."""
        found = [self.midway, *self.final.values()]
        return bool(self.final) and all(verdict is not None and verdict.equal for verdict in found)


class Tour:
    """Runs the loop once in an empty home.

    Args:
        settings: The home and how the platform behaves.
        screen: Where to show it.
        speed: Recorded seconds that pass in a real one.
        keep_running: Leave all that was started running after a good end.
    """

    def __init__(
        self, settings: Settings, screen: Screen, *, speed: float, keep_running: bool = False
    ) -> None:
        self._settings = settings
        self._screen = screen
        self._speed = speed
        self._keep_running = keep_running
        self._sample = sample_files()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Run every step and return what came of it; differences are not an error here.

        Whatever happens, nothing that the tour started is left running, unless it was to be kept.

        Raises:
            DemoStuckError: A step did not come to its end.
            LakehouseError: A part of the platform failed.
        """
        started = time.monotonic()
        with ExitStack() as cleanup:
            cleanup.callback(self._stop)
            self._start()
            self._loop()
            if self._keep_running:
                cleanup.pop_all()
            else:
                with self._screen.step("stop the processes; the lake stays"):
                    cleanup.close()
        self._outcome.seconds = round(time.monotonic() - started, 1)
        return self._outcome

    def _start(self) -> None:
        with self._screen.step("start the broker, the lander, the speed layer and the API"):
            operations.up(
                self._settings,
                self._screen.tell,
                # And the broker, which they come after; no file is dropped.
                only=(*embedded.LAYERS, embedded.LIVE, embedded.API),
                environ={} if self._keep_running else short_lived(),
            )
        self._screen.note(f"  watch it in a browser: {local_address(self._settings)}")

    def _stop(self) -> None:
        with uninterrupted():
            operations.down(self._settings)

    def _loop(self) -> None:
        recorded = by_name(events_from_sample(self._sample))
        self._outcome.events = len(recorded)
        catalog, engine = load_catalog(self._settings), SqlEngine(load_catalog(self._settings))
        with (
            FreshnessProbe(
                client_settings(self._settings),
                TRADES_TOPIC,
                merged_positions(SqlEngine(load_catalog(self._settings))),
            ) as probe,
            polling(probe) as failure,
        ):
            monitor = Monitor(catalog, engine, probe, len(recorded))
            watch = _Watch(self._settings, monitor, self._screen, failure)
            judge = Judge(self._settings, engine, recorded)
            start = datetime.now(UTC)
            with Verb(self._settings, *self._replay_words()) as replay:
                middle = self._first_hour(watch, replay, recorded, start)
                self._judge_midway(judge, watch)
                self._end_of_replay(watch, replay)
            self._outcome.freshness = _freshness(probe)
            self._outcome.confirmed = start, middle
            self._outcome.rest = middle, watch.landed_through()
            self._show_all(watch.seen())
        self._judge_at_the_end(judge)
        self._draw(read_bars(engine))
        engine.close()

    def _replay_words(self) -> Sequence[str]:
        return "replay", *map(str, self._sample), "--speed", f"{self._speed:g}", "--json"

    def _first_hour(
        self,
        watch: "_Watch",
        replay: Verb,
        recorded: Mapping[TradeName, Event],
        start: datetime,
    ) -> datetime:
        """Let the replay cross its first hour, then hand what has landed to batch."""
        boundary = hour_of(min(event["event_time"] for event in recorded.values())) + HOUR
        instruments = len({(venue, symbol) for venue, symbol, _ in recorded})
        with self._screen.step(
            f"replay {len(recorded):,} trades at {self._speed:g} times their pace, "
            f"until the market has passed {boundary:%H:%M}"
        ):
            watch.until(
                lambda _: replay.alive and watch.monitor.landed_from(boundary) == instruments
            )
        middle = watch.landed_through()
        self._batch(watch, start, middle)
        self._reconcile(watch, start, middle)
        return middle

    def _judge_midway(self, judge: Judge, watch: "_Watch") -> None:
        with self._screen.step("ask the oracle: is each bar exact as of the position it states?"):
            self._outcome.midway = verdict = judge.as_of_now()
        self._screen.note(f"  serving.bars_1m, each row as of its own position: {verdict}")
        self._screen.note("", legend(), grid(_around_the_change(watch.seen().bars)), "")

    def _end_of_replay(self, watch: "_Watch", replay: Verb) -> None:
        with self._screen.step("let the replay end, and the last event be seen"):
            watch.until(lambda _: not replay.running)
            replay.result()
            watch.until(
                lambda seen: seen.produced == seen.landed and seen.unseen == 0 and watch.settled()
            )

    def _show_all(self, seen: Observation) -> None:
        self._outcome.bars = seen.layers.bars
        self._screen.note("", legend(), grid(seen.bars), "")

    def _batch(self, watch: "_Watch", start: datetime, end: datetime) -> None:
        with self._screen.step(f"lakehouse batch, over what was ingested {_span(start, end)}"):
            report = self._run("batch", watch, start, end)
        self._outcome.batch = report["trades"]
        rows = report["trades"]["rows"]
        bars = sum(count for table, count in rows.items() if table.startswith("gold."))
        self._screen.note(
            f"  recomputed {len(report['trades']['business_hours'])} business hours: "
            f"{rows['silver.trades']:,} trades, {bars} bars new or changed"
        )

    def _reconcile(self, watch: "_Watch", start: datetime, end: datetime) -> None:
        with self._screen.step(f"lakehouse reconcile, over what was ingested {_span(start, end)}"):
            report = self._run("reconcile", watch, start, end)
        self._outcome.reconciliation = report
        for row in report:
            self._screen.note(
                f"  {row['table']}: {row['verdict']}, {row['compared']:,} rows compared, "
                f"{row['drifted']} drifted"
            )

    def _run(self, verb: str, watch: "_Watch", start: datetime, end: datetime) -> Any:
        span = ("--start", start.isoformat(), "--end", end.isoformat())
        with Verb(self._settings, verb, *span, "--json") as running:
            watch.until(lambda _: not running.running)
            return running.result()

    def _judge_at_the_end(self, judge: Judge) -> None:
        with self._screen.step("ask the oracle again: every view, row by row, digit by digit"):
            self._outcome.final = judge.at_the_end()
        self._screen.note("", verdicts(self._outcome.final), "")

    def _draw(self, bars: Sequence[Bar]) -> None:
        with self._screen.step("draw the candlesticks"):
            self._outcome.picture = self._settings.home / PICTURES / "bars.png"
            draw_bars(bars, self._outcome.picture, title="Merged one-minute bars")


@dataclass
class _Watch:
    """Shows the loop while waiting for something in it."""

    settings: Settings
    monitor: Monitor
    screen: Screen
    failure: ProbeFailure

    def seen(self) -> Observation:
        """Look, and show it."""
        observation = self.monitor.observe()
        self.screen.show(observation)
        return observation

    def until(self, reached: Callable[[Observation], bool]) -> None:
        """Return when this is so.

        Raises:
            DemoStuckError: It is not so in time, or a process that must run has died.
        """
        deadline = time.monotonic() + STEP_DEADLINE_SECONDS
        while not reached(seen := self.seen()):
            self.failure.check()
            self._refuse_dead_layers()
            if time.monotonic() > deadline:
                raise DemoStuckError(f"no end after {STEP_DEADLINE_SECONDS:.0f} s: {seen}")
            time.sleep(LOOK_SECONDS)

    def settled(self) -> bool:
        """Whether the lander's progress has passed every row that it has committed."""
        progress, newest = self.monitor.progress(), self.monitor.newest_ingestion()
        return progress is not None and newest is not None and progress.ingested_through > newest

    def landed_through(self) -> datetime:
        """Return the time up to which bronze is complete."""
        progress = self.monitor.progress()
        if progress is None:
            raise DemoStuckError("the lander has landed nothing")
        return progress.ingested_through

    def _refuse_dead_layers(self) -> None:
        supervisor = Supervisor(self.settings.home)
        for name in (broker.PROCESS, *embedded.LAYERS):
            record = supervisor.find(name)
            if record is None or not record.alive:
                raise DemoStuckError(f"{name} has died: see {supervisor.log(name)}")


def sample_files() -> list[Path]:
    """Return the recordings that the project ships."""
    folder = Path(str(files("demo") / "data"))
    return sorted(folder.glob("*.gz"))


def _freshness(probe: FreshnessProbe) -> dict[str, Any]:
    overall, warm = probe.freshness(), probe.warm()
    return {
        "warm_up_seconds": probe.warm_up_seconds,
        "all": asdict(overall) if overall else None,
        "once_warm": asdict(warm) if warm else None,
    }


def _around_the_change(bars: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the bars of the minutes in which provisional ones begin, and a few before."""
    provisional = [bar["window_start"] for bar in bars if bar["status"] == PROVISIONAL]
    if not provisional:
        return bars
    first = min(provisional)
    return [bar for bar in bars if abs(bar["window_start"] - first) <= AROUND_THE_HOUR]


def _span(start: datetime, end: datetime) -> str:
    return f"from {start:%H:%M:%S} to {end:%H:%M:%S}"
