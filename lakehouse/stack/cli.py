"""``lakehouse stack``: what the containers of the stack run."""

import sys
from typing import Annotated

import typer

from lakehouse.components import Component, ComponentError
from lakehouse.settings import Settings, get_settings

app = typer.Typer(
    no_args_is_help=True, help="One component of the stack at a time, as containers run it."
)

Name = Annotated[str, typer.Argument(help="A component, as `lakehouse status` names it.")]


@app.command()
def init() -> None:
    """Make this installation's authority, secrets and roles, where they are not made yet.

    Example: lakehouse stack init
    """
    from lakehouse.stack.profile import install

    settings = install(get_settings())
    typer.echo(f"roles, secrets and certificates are in {settings.home}")


@app.command()
def run(name: Name) -> None:
    """Run a component in the foreground, and make in it what others need once it is healthy.

    Example: lakehouse stack run kafka
    """
    from lakehouse.stack import foreground

    settings = get_settings()
    sys.exit(foreground.run(_component(settings, name), settings))


@app.command()
def health(name: Name) -> None:
    """Exit with 0 if a component of this container is ready for work, with 1 if it is not.

    Example: lakehouse stack health kafka
    """
    from lakehouse.stack import foreground

    settings = get_settings()
    sys.exit(0 if foreground.is_ready(_component(settings, name), settings) else 1)


def _component(settings: Settings, name: str) -> Component:
    from lakehouse.stack.profile import components

    by_name = {component.name: component for component in components(settings, {})}
    if name not in by_name:
        raise ComponentError(f"{name}: choose from {', '.join(by_name)}")
    return by_name[name]
