"""What a run of `backfill_rebuild` asks the platform for."""

from collections.abc import Mapping
from typing import Any

from lakehouse_windows import WindowError, window_of

# What each of the two verbs has no use for.
OF_REBUILD = ("version", "accept_differences")
OF_BACKFILL = ("again",)


def rebuild_words(params: Mapping[str, Any]) -> list[str]:
    """Return the verb: of a stretch of ingestion time ``backfill``, of all of it ``rebuild``.

    Args:
        params: ``dataset``, ``start``, ``end``, ``version``, ``accept_differences``, ``again``.

    Raises:
        WindowError: The times are none that can be meant, or beside them is what does not go
            with them.
    """
    dataset = ["--dataset", params["dataset"]]
    if not (params["start"] or params["end"]):
        _refuse(params, OF_BACKFILL, "goes with start and end only")
        version = ["--version", params["version"]] if params["version"] else []
        accept = ["--accept-differences"] if params["accept_differences"] else []
        return ["rebuild", "--from", "bronze", *dataset, *version, *accept]
    _refuse(params, OF_REBUILD, "does not go with start and end, which make no new version")
    window = window_of(params, None)
    again = ["--again"] if params["again"] else []
    return ["backfill", "--start", window["start"], "--end", window["end"], *dataset, *again]


def _refuse(params: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    if given := [name for name in names if params[name]]:
        raise WindowError(f"{', '.join(given)} {why}")
