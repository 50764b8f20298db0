"""The rooms' verbs: found through entry points, so that the kernel imports no room by name."""

from importlib.metadata import entry_points

import typer

GROUP = "lakehouse.commands"
# In the order in which data passes through them; a room that is not named here comes last.
ORDER = ("schemas", "ingestion", "batch", "speed", "serving", "demo")


def load_rooms(root: typer.Typer) -> dict[str, str]:
    """Add every room's commands to ``root``, each room under a heading of its own.

    Returns:
        The rooms that could not be loaded, each with the reason: an optional dependency that is
        not installed takes away that room's verbs and no others.
    """
    absent: dict[str, str] = {}
    found = sorted(entry_points(group=GROUP), key=lambda entry: _rank(entry.name))
    for entry in found:
        try:
            room = entry.load()
        except (ImportError, AttributeError) as error:
            absent[entry.name] = str(error)
            continue
        for command in room.registered_commands:
            command.rich_help_panel = entry.name.capitalize()
            root.registered_commands.append(command)
        for group in room.registered_groups:
            group.rich_help_panel = entry.name.capitalize()
            root.registered_groups.append(group)
    return absent


def _rank(room: str) -> tuple[int, str]:
    return (ORDER.index(room) if room in ORDER else len(ORDER), room)
