"""Options that several verbs have."""

from typing import Annotated, Any

import typer

from ingestion.adapters import VENUES, Venue, venue_named


def share(what: str) -> Any:
    """Return the option of what share of all messages has a fault."""
    return typer.Option(min=0, max=1, help=f"Share of {what}, 0 to 1.", rich_help_panel="Faults")


def venue_option(meaning: str) -> Any:
    """Return the option that names a venue.

    Args:
        meaning: What it is the venue of, as a sentence.
    """
    return typer.Option(parser=_venue, metavar="|".join(VENUES), help=meaning)


def _venue(name: str) -> Venue:
    if name not in VENUES:
        raise typer.BadParameter(f"choose from {', '.join(VENUES)}")
    return venue_named(name)


AsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")]
Rate = Annotated[float, typer.Option(min=0, help="Messages a second; 0: no limit.")]
Duplicate = Annotated[float, share("messages that come again")]
OutOfOrder = Annotated[float, share("messages that later ones overtake")]
Bad = Annotated[float, share("messages that must be refused")]
