"""Analysts: the users of Trino that an operator lets in, each with a password of their own.

Whoever has a secret is one. What the users ``analyst…`` may do, and how much at once, is in
``infra/trino``: all the same, and each has a queue.
"""

import re

from lakehouse.errors import LakehouseError
from lakehouse.stack import trino
from lakehouse.stack.installation import Installation

ANALYST = "analyst"
PREFIX = f"{ANALYST}_"
# Short enough for a table of queries; Trino's rules and the names of secrets know no other letters.
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Of infra/trino/rules.json.
TRINO_USERS = ("orchestration", "serving", "dashboard", ANALYST, "monitor")


class AnalystError(LakehouseError):
    """There can be no such analyst, or there is none."""

    exit_code = 2


def trino_passwords(installation: Installation) -> dict[str, str]:
    """Return the password of everybody whom Trino lets in, by user."""
    start = f"{trino.NAME}-{PREFIX}"
    added = sorted(name for name in installation.known_secrets() if name.startswith(start))
    users = [*TRINO_USERS, *(name.removeprefix(f"{trino.NAME}-") for name in added)]
    return {user: installation.secret(f"{trino.NAME}-{user}") for user in users}


def add(installation: Installation, name: str) -> str:
    """Let an analyst in, with a password that is generated now; once is as good as twice.

    Returns:
        The name of the user, which is that of the secret after ``trino-``.

    Raises:
        AnalystError: The name is none for a user.
    """
    user = _user(name)
    installation.secret(f"{trino.NAME}-{user}")
    return user


def remove(installation: Installation, name: str) -> str:
    """Let an analyst in no longer, and delete the password.

    Returns:
        The name of the user.

    Raises:
        AnalystError: Nobody of that name was added.
    """
    user = _user(name)
    if user not in trino_passwords(installation):
        raise AnalystError(f"there is no analyst {name}")
    installation.forget(f"{trino.NAME}-{user}")
    return user


def tell_trino(installation: Installation) -> bool:
    """Write who is let in for a Trino that was started here, which reads it within ten seconds.

    Returns:
        Whether there is one. Any other reads it when it starts.
    """
    if not trino.password_file(installation.home).exists():
        return False
    trino.write_passwords(installation.home, trino_passwords(installation))
    return True


def _user(name: str) -> str:
    if not NAME.fullmatch(name):
        raise AnalystError(
            f"{name!r} is no name for an analyst: up to 32 small letters, digits and underscores, "
            "a letter first"
        )
    return f"{PREFIX}{name}"
