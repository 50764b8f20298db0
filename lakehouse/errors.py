"""The errors that a person reads: what failed, on what, and what to do."""


class LakehouseError(Exception):
    """Base of every error the platform raises on purpose; the CLI prints it without a traceback."""

    exit_code = 1
