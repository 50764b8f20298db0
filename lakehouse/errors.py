"""The errors that a person reads: what failed, on what, and what to do."""


class LakehouseError(Exception):
    """Base of every error the platform raises on purpose; the CLI prints it without a traceback."""

    exit_code = 1


class VerdictError(LakehouseError):
    """Something was judged and did not pass: to try again changes nothing."""

    exit_code = 3


# Spark repeats the whole plan in its messages.
QUOTED_CHARACTERS = 300


def first_line(error: BaseException) -> str:
    """Return what an error is and says, as far as it fits a line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:QUOTED_CHARACTERS]
