"""``lakehouse stack``: what the containers of the stack run, and who may ask its Trino."""

import os
import sys
from typing import Annotated

import typer

from lakehouse.components import Component, ComponentError
from lakehouse.settings import Settings, get_settings

app = typer.Typer(
    no_args_is_help=True,
    help="One component of the stack at a time, as containers run it; who may ask its Trino.",
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


@app.command()
def analyst(
    name: Annotated[str, typer.Argument(help="Small letters, digits, underscores.")],
    remove: Annotated[bool, typer.Option("--remove", help="Let them in no longer.")] = False,
) -> None:
    """Let one more analyst into Trino, as the user analyst_NAME with a password of their own.

    They may do what the user analyst may, and wait in a queue of their own. A Trino that runs
    natively knows within ten seconds; one in a container when it is started again.

    Example: lakehouse stack analyst jane
    """
    from lakehouse.stack import analysts
    from lakehouse.stack.installation import Installation

    installation = Installation(_stack_settings())
    with installation.supervisor.exclusive():
        user = (analysts.remove if remove else analysts.add)(installation, name)
        is_told = analysts.tell_trino(installation)
    knows = "Trino knows within ten seconds" if is_told else "Trino knows when it is started again"
    file = installation.home / "secrets" / f"trino-{user}"
    typer.echo(f"{user} is let in no longer" if remove else f"{user}: the password is in {file}")
    typer.echo(knows)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def airflow(
    words: Annotated[list[str], typer.Argument(help="What Airflow's own command is to do.")],
) -> None:
    """Run Airflow's own command on this installation's Airflow.

    Example: lakehouse stack airflow dags list
    """
    from lakehouse.stack import airflow as server
    from lakehouse.stack.installation import Installation

    launch = server.command(Installation(_stack_settings()), words)
    os.execve(launch.argv[0], [*launch.argv], os.environ | launch.environ)  # noqa: S606


def _stack_settings() -> Settings:
    settings = get_settings()
    if not settings.on_stack:
        raise ComponentError(f"{settings.home} is no home of a stack")
    return settings


def _component(settings: Settings, name: str) -> Component:
    from lakehouse.stack.profile import components

    by_name = {component.name: component for component in components(settings, {})}
    if name not in by_name:
        raise ComponentError(f"{name}: choose from {', '.join(by_name)}")
    return by_name[name]
