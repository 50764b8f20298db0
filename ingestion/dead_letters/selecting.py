"""The options that say which dead letters a verb is about."""

from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import Annotated, Any

import typer

from ingestion.dead_letters.letters import Selection
from ingestion.dead_letters.lineage import Coordinates
from lakehouse.intervals import parse_time

Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="[LETTER]...", help="topic/generation/partition/offset of a letter."),
]
Topic = Annotated[str | None, typer.Option(help="Topic that they were read from.")]
Stage = Annotated[str | None, typer.Option(help="Who refused them: producer, lander, batch.")]
Reason = Annotated[str | None, typer.Option(help="Why, such as unknown_schema_id.")]
Since = Annotated[str | None, typer.Option(help="First time of refusal, ISO 8601, UTC.")]
Until = Annotated[str | None, typer.Option(help="Time of refusal before which they were.")]

Verb = Callable[..., None]


def _selection(
    *,
    letters: Places = None,
    topic: Topic = None,
    stage: Stage = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
) -> Selection:
    return Selection(
        topic=topic,
        stage=stage,
        reason=reason,
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        places=tuple(map(Coordinates.parse, letters or ())),
    )


def selecting(*, places: bool) -> Callable[[Verb], Verb]:
    """Let a verb take a selection first; on the command line it has the options that make one.

    Args:
        places: Whether letters can also be named by where they stand in the log.
    """
    options = dict(signature(_selection).parameters)
    if not places:
        del options["letters"]

    def of(verb: Verb) -> Verb:
        _, *own = signature(verb).parameters.values()

        @wraps(verb)
        def asked(**said: Any) -> None:
            chosen = {name: said.pop(name) for name in options}
            verb(_selection(**chosen), **said)

        # The command line is made of the signature.
        vars(asked)["__signature__"] = Signature([*options.values(), *own])
        return asked

    return of
