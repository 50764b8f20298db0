"""``lakehouse replay``, ``feed`` and ``synth``: the verbs that bring events in."""

import asyncio
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from prometheus_client import REGISTRY

from ingestion.adapters import Venue
from ingestion.crm.cli import app as crm_app
from ingestion.dead_letters.cli import app as dead_letters_app
from ingestion.files.cli import app as files_app
from ingestion.intake import Intake
from ingestion.lander.cli import app as lander_app
from ingestion.market_producer import market_producer
from ingestion.oms.cli import app as oms_app
from ingestion.options import AsJson, Bad, Duplicate, OutOfOrder, Rate, share, venue_option
from ingestion.replay import adapters_for
from ingestion.replay import replay as replay_recordings
from ingestion.reporting import intake_summary, progress, summarise
from ingestion.sending import connected_producer, stopped_by_signal
from ingestion.simulating import send_made
from ingestion.synth import LoadProfile, synthetic_events
from lakehouse.processes import LOOPBACK
from lakehouse.telemetry import MetricsHost, MetricsPort, serve_metrics

app = typer.Typer()
# The lander's verbs, those on dead letters and those of files stand beside the producers'.
for part in (lander_app, dead_letters_app, files_app):
    app.registered_commands += part.registered_commands
    app.registered_groups += part.registered_groups
app.add_typer(crm_app, name="crm")
app.add_typer(oms_app, name="oms")

_MAX_SPEED: Final = "max"


def _speed(text: str) -> float | None:
    if text == _MAX_SPEED:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter("give a number above zero, or 'max'")
    return speed


@app.command()
def replay(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings, .gz or plain.", exists=True, dir_okay=False),
    ],
    venue: Annotated[
        Venue | None,
        venue_option("Whose frames they are. Left out, the file names must begin with it."),
    ] = None,
    speed: Annotated[
        str,
        typer.Option(help="Recorded seconds that pass in a real one, or 'max' for no waiting."),
    ] = _MAX_SPEED,
    as_json: AsJson = False,
) -> None:
    """Send recorded frames to the log, merged by the time at which they were received.

    A line of a recording is `<receive time, ns> <frame>`. What cannot be read becomes a dead
    letter; the rest goes on.

    Example: lakehouse replay demo/data/*.gz --speed 60
    """
    pace = _speed(speed)
    recordings = adapters_for(files, venue)
    started = time.monotonic()
    with (
        market_producer() as producer,
        stopped_by_signal() as stop,
        progress("replaying") as show,
    ):
        counts = replay_recordings(
            recordings,
            producer,
            speed=pace,
            stop=stop,
            on_progress=lambda counts: show(counts.events.total(), counts.rejected.total()),
        )
        producer.flush()
    summarise(intake_summary(counts, started), as_json=as_json)


@app.command()
def feed(
    *,
    venue: Annotated[Venue, venue_option("Which market.")],
    symbol: Annotated[list[str], typer.Option(help="Such as BTCUSDT; repeatable.")],
    url: Annotated[
        str | None, typer.Option(help="Base address of the stream server, instead of the venue's.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop after so long; left out, never.")
    ] = None,
    stall_seconds: Annotated[
        float, typer.Option(min=0.1, help="Connect again after so long without a frame.")
    ] = 30.0,
    as_json: AsJson = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
) -> None:
    """Follow an exchange's live trades and quotes until Ctrl-C, reconnecting whenever need be.

    Example: lakehouse feed --venue binance_spot --symbol BTCUSDT --symbol ETHUSDT
    """
    # The WebSocket client is an extra that only this verb needs.
    from ingestion.feed import Feed, Patience
    from ingestion.feed_metrics import FeedMetrics

    address = venue.stream_address(url or venue.default_base, symbol)
    started = time.monotonic()
    with market_producer() as producer, progress(f"following {venue.name}") as show:
        intake = Intake(producer)
        following = Feed(
            address,
            venue.adapt,
            intake,
            patience=Patience(stall_seconds=stall_seconds),
            on_frame=lambda: show(intake.counts.events.total(), intake.counts.rejected.total()),
        )
        if metrics_port is not None:
            counted = FeedMetrics(intake.counts, following.connection, following.sequence)
            REGISTRY.register(counted)
            serve_metrics(metrics_port, host=metrics_host)
        asyncio.run(_until_stopped(following.run, seconds))
        producer.flush()
    summary = intake_summary(intake.counts, started)
    summary |= {
        "connections": following.connection.connections,
        "drops": dict(following.connection.drops),
        "gaps": following.sequence.gaps,
        "missing_trades": following.sequence.missing_trades,
        "repeated_trades": following.sequence.repeated_trades,
    }
    summarise(summary, as_json=as_json)


@app.command()
def synth(
    *,
    rate: Rate = 1000.0,
    events: Annotated[int | None, typer.Option(min=1, help="Stop after so many messages.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long.")] = None,
    symbols: Annotated[int, typer.Option(min=1, help="Number of instruments.")] = 20,
    skew: Annotated[
        float | None,
        typer.Option(
            help="The first one's share of trades, above 0 to 1, the others alike; left out: Zipf."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 0,
    start: Annotated[
        datetime | None, typer.Option(help="Event time of the first trade, UTC; left out: now.")
    ] = None,
    event_rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Messages in a second of event time; left out: the rate."),
    ] = None,
    late: Annotated[float, share("trades of up to 90 minutes ago")] = 0.0,
    duplicate: Duplicate = 0.0,
    out_of_order: OutOfOrder = 0.0,
    corrections: Annotated[float, share("corrections")] = 0.0,
    cancels: Annotated[float, share("cancels")] = 0.0,
    bad: Bad = 0.0,
    as_json: AsJson = False,
) -> None:
    """Send synthetic load; the same options with --start give the same events every time.

    Example: lakehouse synth --rate 5000 --seconds 60 --late 0.01 --duplicate 0.01
    """
    profile = LoadProfile(
        start=start.replace(tzinfo=UTC) if start else datetime.now(UTC),
        symbols=symbols,
        skew=skew,
        seed=seed,
        events_per_second=event_rate or rate or LoadProfile.events_per_second,
        late=late,
        duplicate=duplicate,
        out_of_order=out_of_order,
        corrections=corrections,
        cancels=cancels,
        bad=bad,
    )
    send_made(
        synthetic_events(profile),
        connected_producer,
        doing="sending",
        as_json=as_json,
        rate=rate,
        limit=events,
        seconds=seconds,
    )


async def _until_stopped(run: Callable[[asyncio.Event], Any], seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    await run(stop)
