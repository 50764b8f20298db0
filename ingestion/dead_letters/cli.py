"""``lakehouse dlq``: the dead letters listed, shown, and given another try."""

import json
from functools import cache
from typing import Annotated

import typer
from rich.console import Console

import schemas
from ingestion.adapters import Venue
from ingestion.dead_letters.counts import count
from ingestion.dead_letters.decoding import decode
from ingestion.dead_letters.letters import DeadLetters, Selection
from ingestion.dead_letters.printing import (
    counts_as_json,
    decision_as_json,
    letter_as_json,
    print_counts,
    print_decisions,
    print_letter,
)
from ingestion.dead_letters.redrive import MAX_ATTEMPTS, Redriver
from ingestion.dead_letters.redrives import Redrives
from ingestion.dead_letters.remaking import Encode, Remaker
from ingestion.dead_letters.selecting import selecting
from ingestion.options import venue_option
from lakehouse.catalog import load_catalog
from lakehouse.dispatch import Dispatch
from lakehouse.errors import LakehouseError
from lakehouse.kafka import client_settings
from lakehouse.settings import Settings, get_settings
from schemas.registry import schema_registry
from schemas.wire import EventCodec

app = typer.Typer()
verbs = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, redrive after a fix.")
app.add_typer(verbs, name="dlq")


class NoSuchLetterError(LakehouseError):
    """No dead letter is as the options say."""


class NothingSelectedError(LakehouseError):
    """Nobody said which dead letters are meant."""

    exit_code = 2


def _encoder(settings: Settings) -> Encode:
    registry = schema_registry(settings)

    @cache
    def codec(topic: str) -> EventCodec:
        return EventCodec(registry, settings.max_payload_bytes, schemas.topics()[topic])

    return lambda topic, event: codec(topic).encode(event)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@verbs.command(name="list")
@selecting(places=False)
def list_(selection: Selection, *, as_json: AsJson = False) -> None:
    """Count dead letters by day of refusal, topic, stage and reason.

    Example: lakehouse dlq list --since 2024-08-09 --stage lander
    """
    counts = count(load_catalog(get_settings("ingest")), selection)
    if as_json:
        typer.echo(json.dumps(counts_as_json(counts)))
    else:
        print_counts(counts, Console())


@verbs.command()
@selecting(places=True)
def show(
    selection: Selection,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the newest.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: why it was refused, its payload, decoded as far as it goes.

    Nothing that is encrypted in it is decrypted.

    Example: lakehouse dlq show --reason unknown_schema_id
    """
    settings = get_settings("ingest")
    catalog, registry = load_catalog(settings), schema_registry(settings)
    redrives = Redrives(catalog)
    found = DeadLetters(catalog).newest(selection, max(limit, len(selection.places)))
    if not found:
        raise NoSuchLetterError("there is no such dead letter: `lakehouse dlq list` counts them")
    facts = [(one, decode(one, registry), redrives.of_letter(one)) for one in found]
    if as_json:
        typer.echo(json.dumps([letter_as_json(*fact) for fact in facts]))
        return
    console = Console()
    for fact in facts:
        print_letter(*fact, console)


@verbs.command()
@selecting(places=True)
def redrive(
    selection: Selection,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    venue: Annotated[
        Venue | None,
        venue_option("Whose frames a producer refused. Left out, their source tells."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven already.")
    ] = False,
    max_attempts: Annotated[
        int, typer.Option(min=1, help="Leave alone what was sent again so often.")
    ] = MAX_ATTEMPTS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to their topic again, after the cause was mended.

    Each becomes a new event of the same key and payload, with headers that name the old one.
    A frame that a producer refused is given to its venue's adapter again. What was done is kept
    in ops.redrives, and what was redriven is left out the next time.

    Example: lakehouse dlq redrive --reason unknown_schema_id --since 2024-08-09 --dry-run
    """
    settings = get_settings("ingest")
    if selection == Selection() and not everything:
        raise NothingSelectedError(
            "say which dead letters: by coordinates, --topic, --stage, --reason, --since, --until, "
            "or --all"
        )
    catalog = load_catalog(settings)
    redriver = Redriver(
        DeadLetters(catalog),
        Redrives(catalog),
        Remaker(_encoder(settings), venue),
        dispatch=(None if dry_run else Dispatch.connect(client_settings(settings), name="redrive")),
        again=again,
        max_attempts=max_attempts,
    )
    # Payloads are let go as they are sent.
    decisions = [decision_as_json(decision) for decision in redriver.run(selection)]
    if as_json:
        redrive_id = None if dry_run else redriver.redrive_id
        typer.echo(json.dumps({"redrive_id": redrive_id, "letters": decisions}))
        return
    print_decisions(decisions, Console(), dry_run=dry_run)
    if not dry_run:
        typer.echo(f"recorded in ops.redrives as {redriver.redrive_id}")
