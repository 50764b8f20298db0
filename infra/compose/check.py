"""Bring the stack up in containers, run the loop on it, ask the oracle, and say what was seen.

    make compose-check        or: python -m infra.compose.check --help

It needs a container engine, and takes the machine's compose command or the one that
`lakehouse artifacts fetch --profile compose` builds. It is a project of its own, whose volumes are
deleted in the end; a stack of yours that runs beside it keeps its data, and its ports: then give
the check others (PUBLISH_TRINO=18443).
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from demo.judge import QUESTIONS
from demo.oracle import compare, in_order
from demo.recorded import events_from_sample
from infra.compose.engine import CheckFailedError, Engine
from infra.compose.processing import AIRFLOW, process_by_airflow, process_by_hand
from infra.compose.record import Record
from lakehouse.infra import CHECKOUT
from lakehouse.intervals import HOUR, Interval, hour_of

SAMPLE = CHECKOUT / "demo" / "data"
# Where an image has it.
SAMPLE_INSIDE = "/opt/lakehouse/app/demo/data"
# The oracle is not told where in the log each trade came to stand: the log is not to be had from
# outside. `lakehouse demo` compares these too.
POSITIONS = frozenset(
    {"last_offset", "log_partition", "trade_position", "correction_position", "cancel_position"}
)
# Whom to ask, from where: no program of that image could ask.
ASKED_BY_OTHERS = {"logs": ("grafana", "http://logs:2020/api/v1/health")}
# Two cores that start a dozen servers, half of them JVMs.
HEALTHY_SECONDS = 900
LANDED_SECONDS = 300
LOOK_SECONDS = 3.0
# An idle lander says every five seconds how far it is; batch wants to know that it has passed.
SETTLED_SECONDS = 10.0


def check(
    build: Annotated[bool, typer.Option(help="Build the images first.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all of it running.")] = False,
    profile: Annotated[list[str] | None, typer.Option(help="What to bring up.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Services whose image cannot be had here.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Write what was seen here too.")] = None,
) -> None:
    """Bring the stack up, run the loop on it, compare with the oracle, take it down.

    Exits with 1 when a service is not healthy, a command fails, or a value differs.

    Without a profile it is the core and Airflow, which then does what else is done by hand.

    Example: python -m infra.compose.check --profile core --profile ml
    """
    seen = Record()
    # An hour that is over: Airflow does it by schedule as soon as it is up.
    first_hour = hour_of(datetime.now(UTC)) - HOUR
    engine = Engine(profile or ["orchestration"], {"LAKEHOUSE_FIRST_HOUR": first_hour.isoformat()})
    seen.say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {engine.versions()}")
    engine.compose("config", "--quiet")
    if build:
        with seen.timed("images built"):
            engine.compose("build")
    try:
        wanted = sorted(set(engine.compose("config", "--services").split()) - set(without or []))
        with seen.timed(f"{len(wanted)} services up, each healthy or done"):
            _up(engine, wanted)
        interval = _ingest(engine, seen)
        if AIRFLOW in wanted:
            process_by_airflow(engine, seen, interval, first_hour)
        else:
            process_by_hand(engine, seen, interval)
        seen.say(f"by status, after batch: {_by_status(engine)}")
        _tell_of_services(engine, seen)
        _start_again(engine, seen, wanted)
        _compare(engine, seen)
    except BaseException:
        typer.echo(engine.compose("logs", "--tail", "40"), err=True)
        raise
    finally:
        if record:
            record.write_text("\n".join([*seen.lines, ""]))
        if not keep:
            with seen.timed("taken down"):
                engine.compose("down", "--volumes", "--remove-orphans", "--timeout", "40")


def _up(engine: Engine, services: Sequence[str]) -> None:
    engine.compose(
        *("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(HEALTHY_SECONDS)),
        *services,
    )


def _ingest(engine: Engine, seen: Record) -> Interval:
    """Send the recorded trades; return when all of them were ingested."""
    start = datetime.now(UTC) - timedelta(minutes=1)
    files = sorted(file.name for file in SAMPLE.glob("*.gz"))
    recorded = len(list(events_from_sample(SAMPLE / name for name in files)))
    with seen.timed(f"{recorded:,} recorded trades replayed"):
        engine.run("produce", "replay", *(f"{SAMPLE_INSIDE}/{name}" for name in files))
    with seen.timed("all of them in serving.trades"):
        _wait_for(engine, recorded)
    seen.say(f"by status, before batch: {_by_status(engine)}")
    time.sleep(SETTLED_SECONDS)
    return Interval(start, datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS / 2))


def _wait_for(engine: Engine, recorded: int) -> None:
    deadline = time.monotonic() + LANDED_SECONDS
    while (found := engine.query("SELECT count(*) AS n FROM serving.trades")[0]["n"]) != recorded:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"serving.trades has {found} of {recorded} trades")
        time.sleep(LOOK_SECONDS)


def _by_status(engine: Engine) -> str:
    rows = engine.query(
        "SELECT status, count(*) AS bars, sum(trade_count) AS trades "
        "FROM serving.bars_1m GROUP BY status ORDER BY status"
    )
    return "; ".join(f"{row['status']} {row['bars']} bars, {row['trades']} trades" for row in rows)


def _tell_of_services(engine: Engine, seen: Record) -> None:
    memory = engine.memory()
    seen.say()
    seen.say("| service | image | state | health | memory, of its limit |")
    seen.say("|---|---|---|---|---|")
    for container in sorted(engine.containers(), key=lambda found: str(found["Service"])):
        service, state = container["Service"], container["State"]
        health = "-" if state == "exited" else health_of(engine, container)
        if state == "exited":
            state = f"ended with {container['ExitCode']}"
        used = memory.get(container["Name"], "-")
        seen.say(f"| {service} | {container['Image']} | {state} | {health} | {used} |")
        if container["State"] == "exited" and container["ExitCode"] != 0:
            raise CheckFailedError(f"{service} {state}")
        if container["State"] != "exited" and health != "healthy":
            raise CheckFailedError(f"{service} is {health}")
    seen.say()


def health_of(engine: Engine, container: dict[str, Any]) -> str:
    """Return a running container's health: as the engine has checked it, or as another asks it."""
    service, checked = container["Service"], str(container["Health"])
    if service not in ASKED_BY_OTHERS:
        return checked or "not checked"
    neighbour, url = ASKED_BY_OTHERS[service]
    try:
        engine.compose("exec", "--no-TTY", neighbour, "wget", "-q", "-O", "/dev/null", url)
    except CheckFailedError:
        return f"unhealthy, as {neighbour} finds"
    return "healthy"


def _start_again(engine: Engine, seen: Record, services: Sequence[str]) -> None:
    """Take all containers away and bring them back: what must last is in volumes."""
    with seen.timed("containers removed, volumes kept"):
        engine.compose("down", "--timeout", "40")
    with seen.timed("up again"):
        _up(engine, services)


def _compare(engine: Engine, seen: Record) -> None:
    events = in_order(events_from_sample(sorted(SAMPLE.glob("*.gz"))))
    for view, (expect, key) in QUESTIONS.items():
        rows = engine.query(f"SELECT * FROM {view}")
        verdict = compare(expect(events), rows, key=key, ignore=POSITIONS)
        seen.say(f"{view}: {verdict}")
        if not verdict.equal:
            raise CheckFailedError(f"{view} is not what the oracle says")


if __name__ == "__main__":
    typer.run(check)
