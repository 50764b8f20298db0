"""``lakehouse models``: train, promote, score, drift, list."""

import json
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.catalog import load_catalog
from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval
from lakehouse.settings import Settings, get_settings
from lakehouse.telemetry import configure_logging
from serving.models.names import Model

if TYPE_CHECKING:
    from serving.models.task import Task
    from serving.models.tracking import Tracking

app = typer.Typer(
    no_args_is_help=True,
    help="Models: train, promote where better, score, watch for drift, list.",
)

Which = Annotated[Model, typer.Option("--model", help="Which model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class MissingModelsError(LakehouseError):
    """What models need is not installed."""


@app.command()
def train(
    window_start: Annotated[
        str | None,
        typer.Option(help="First time that a promotion is judged by, ISO 8601, UTC."),
    ] = None,
    window_end: Annotated[
        str | None, typer.Option(help="Time at which that window ends, excluded.")
    ] = None,
    model: Which = Model.VOLATILITY,
    as_json: AsJson = False,
) -> None:
    """Train every candidate of a model, judge all by the same time after it, register them.

    The best of them, by a slice of time before the window, is the challenger. Without a window, the
    last fifth of the time that is read is kept out, two days at most.

    Example: lakehouse models train --window-start 2024-08-09T00:02 --window-end 2024-08-09T00:05
    """
    if (window_start is None) != (window_end is None):
        raise typer.BadParameter("give both --window-start and --window-end, or neither")
    settings, tracking, task = _begun(model)
    from serving.models.training import train as train_models

    window = Interval.parse(window_start, window_end) if window_start and window_end else None
    report = train_models(load_catalog(settings), tracking, task, window=window)
    if as_json:
        typer.echo(json.dumps(asdict(report), default=str))
        return
    typer.echo(
        f"{report.model}: trained on {report.trained_on} examples of snapshot "
        f"{report.snapshot_id}, chosen by the {report.deciding} of {report.chosen_by} after them, "
        f"judged by {report.judged_by} of {report.slices.judging}"
    )
    shown = Table("candidate", "version", "chosen by", *report.scores[0].metrics, "skill")
    for score in report.scores:
        values = (f"{value:.3f}" for value in (score.chosen_by, *score.metrics.values()))
        shown.add_row(score.candidate, str(score.version), *values, f"{score.skill:+.3f}")
    Console().print(shown)


@app.command()
def promote(model: Which = Model.VOLATILITY, as_json: AsJson = False) -> None:
    """Make the challenger champion, if it is better on the window that was kept from it.

    Example: lakehouse models promote --model anomalous_trades
    """
    settings, tracking, task = _begun(model)
    from serving.models.promotion import promote as promote_model

    verdict = promote_model(load_catalog(settings), tracking, task)
    if as_json:
        typer.echo(json.dumps(asdict(verdict), default=str))
        return
    champion = (
        "there was no champion"
        if verdict.champion is None
        else f"champion {verdict.champion} has {verdict.champion_value:.3f}"
    )
    outcome = "is champion now" if verdict.promoted else "is not promoted"
    typer.echo(
        f"{verdict.model}: version {verdict.challenger} {outcome}: its {verdict.metric} on "
        f"{verdict.window} is {verdict.challenger_value:.3f}, {champion}"
    )


@app.command()
def score(
    start: Annotated[
        str, typer.Option(help="First ingestion time of the interval, ISO 8601, UTC.")
    ],
    end: Annotated[str, typer.Option(help="Ingestion time at which the interval ends, excluded.")],
    model: Which = Model.VOLATILITY,
    as_json: AsJson = False,
) -> None:
    """Write the champion's predictions of the features that an interval has moved.

    `lakehouse features` of the interval goes before it.

    Example: lakehouse models score --start 2024-08-09T00:00 --end 2024-08-09T01:00
    """
    interval = Interval.parse(start, end)
    settings, tracking, _ = _begun(model)
    from serving.models.scoring import PREDICTIONS, Scorer
    from serving.models.scoring import score as score_features

    scored = score_features(load_catalog(settings), Scorer(tracking, model), interval)
    if as_json:
        typer.echo(json.dumps(asdict(scored), default=str))
    else:
        typer.echo(
            f"{scored.model} version {scored.version}: {scored.rows} rows of {PREDICTIONS} "
            f"written in {len(scored.spans)} stretches of time"
        )


@app.command()
def drift(
    day: Annotated[str, typer.Option(help="The day of the features, UTC, such as 2024-08-09.")],
    model: Which = Model.VOLATILITY,
    as_json: AsJson = False,
) -> None:
    """Measure how a day's features differ from those of training, and how right the champion is.

    Example: lakehouse models drift --day 2024-08-09
    """
    try:
        chosen = date.fromisoformat(day)
    except ValueError as error:
        raise typer.BadParameter(f"{day!r} is no day, such as 2024-08-09") from error
    settings, tracking, task = _begun(model)
    from serving.models.checks import check_day

    checks = check_day(load_catalog(settings), tracking, task, chosen)
    _print([vars(one) for one in checks], as_json)


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List every version of every model, with its aliases and its errors out of time.

    Example: lakehouse models list --json
    """
    _, tracking, _ = _begun()
    versions = list(tracking.versions())
    if not as_json:  # what fits a line
        versions = [
            {name: one[name] for name in ("model", "version", "candidate", "aliases")}
            | {"skill": one["metrics"].get("skill")}
            for one in versions
        ]
    _print(versions, as_json)


def _begun(model: Model = Model.VOLATILITY) -> "tuple[Settings, Tracking, Task]":
    settings = get_settings("batch")
    configure_logging("models", settings.log_level)
    try:  # They are of another extra.
        from serving.models.registry import TASKS
        from serving.models.tracking import Tracking
    except ModuleNotFoundError as error:
        raise MissingModelsError(
            f"{error.name} is missing: install the project with its models extra"
        ) from error
    return settings, Tracking(settings), TASKS[model]


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    shown = Table(*(rows[0] if rows else ()))
    for row in rows:
        shown.add_row(*map(_shown, row.values()))
    Console().print(shown if rows else "nothing is registered")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else str(value)
