"""Files that somebody drops, told of one by one as they are whole."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

WAITING = ("files", "waiting", "--json")
# A watch that ended, as when the folder's disk was away, is begun again.
AGAIN_SECONDS = 10.0


class DropFolderTrigger(BaseEventTrigger):
    """Fires for each file of the drop folder once it is whole, for as long as it is watched.

    What is whole, and what is only half written, the platform's own command line tells. Begun
    again, it fires again for the files that wait.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how to make this trigger again in the triggerer."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Read what the watch tells; a trigger that is taken down takes it along."""
        while True:
            watch = await asyncio.create_subprocess_exec(
                "lakehouse", *WAITING, "--follow", stdout=PIPE
            )
            assert watch.stdout is not None  # noqa: S101 - it was asked for
            try:
                async for line in watch.stdout:
                    yield TriggerEvent(json.loads(line))
            finally:
                if watch.returncode is None:
                    watch.kill()
                    await watch.wait()
            self.log.warning("the watch of the drop folder ended with %s", watch.returncode)
            await asyncio.sleep(AGAIN_SECONDS)


def loads_of(told: str) -> list[dict[str, Any]]:
    """Return the runs of `file_drops` that load some files.

    A file as it lies there has one run, however often it is told of.

    Args:
        told: A line for each file, JSON: ``file``, its path in the drop folder, ``modified_ns``.

    Returns:
        Of each run, ``trigger_run_id`` and ``conf``.
    """
    runs = {}
    for one in map(json.loads, told.splitlines()):
        known_by = sha256(f"{one['file']} {one['modified_ns']}".encode()).hexdigest()[:16]
        runs[f"file_{known_by}"] = {"file": one["file"]}
    return [{"trigger_run_id": run_id, "conf": conf} for run_id, conf in runs.items()]
