"""From produced to told: live rows at many readers of the API's stream.

Usage: python bench/streams.py [--readers 200] [--rate 1000] [--symbols 20] [--warm-up 5]
                               [--seconds 30] [--json out.json]

On a home of its own: a broker, the live tier and the API. Each reader is a connection that follows
one instrument. The load is synthetic trades; a trade is visible when the last of its instrument's
readers has been told a row that counts it. Readers, load and platform share the machine.
"""

import argparse
import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from _homes import BenchHome, running_home
from rich.console import Console
from rich.table import Table

from demo.freshness import FreshnessProbe, Positions, polling
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import remembered_ports
from lakehouse.settings import Settings
from serving.api.stream import MOST_READERS_OF_A_KEY

PAUSE_SECONDS = 0.005
OPEN_SECONDS = 60.0
UNLIMITED = "1000000"
_TOLD = re.compile(rb'"venue":"([^"]+)","symbol":"([^"]+)".*"last_offset":(\d+)')


class Readers:
    """Connections that follow the stream, and how far each has been told.

    Args:
        port: The API's.
        keys: API keys, shared evenly.
        symbols: Instruments, one for each connection in turn.
        number: How many connections.
    """

    def __init__(self, port: int, keys: list[str], symbols: list[str], number: int) -> None:
        self.events = 0
        self._port, self._keys, self._symbols = port, keys, symbols
        self._told: list[dict[str, int]] = [{} for _ in range(number)]
        self._ready = threading.Semaphore(0)

    def visible(self) -> Positions:
        """Return how far every reader of an instrument has been told, at least."""
        every = len(self._symbols)
        groups = (self._told[n::every] for n in range(min(every, len(self._told))))
        return {
            instrument: min(told[instrument] for told in group)
            for group in groups
            for instrument in list(group[0])
            if all(instrument in told for told in group)
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read in a thread of their own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        tasks = [
            asyncio.run_coroutine_threadsafe(self._read(number), loop)
            for number in range(len(self._told))
        ]
        try:
            for _ in tasks:
                if not self._ready.acquire(timeout=OPEN_SECONDS):
                    raise RuntimeError("not every reader was let in")
            yield
            if failed := [task for task in tasks if task.done()]:
                failed[0].result()
                raise RuntimeError(f"{len(failed)} streams have ended")
        finally:
            for task in tasks:
                task.cancel()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def _read(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        symbol = self._symbols[number % len(self._symbols)]
        key = self._keys[number % len(self._keys)]
        writer.write(
            f"GET /v1/stream?symbol={symbol} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {key}\r\n\r\n".encode()
        )
        status = await reader.readline()
        if status.split()[1] != b"200":
            raise RuntimeError(status.decode())
        self._ready.release()
        told = self._told[number]
        while line := await reader.readline():
            if (found := _TOLD.search(line)) is not None:
                instrument, position = b"%b:%b" % found.group(1, 2), int(found[3])
                name = instrument.decode()
                told[name] = max(position, told.get(name, -1))
                self.events += 1


def load(home: BenchHome, options: argparse.Namespace, seconds: float) -> None:
    """Produce trades for some time."""
    limits = ["--rate", str(options.rate), "--symbols", str(options.symbols)]
    home.ask("synth", *limits, "--seconds", str(seconds), "--seed", "7", "--json")


def measure(home: BenchHome, options: argparse.Namespace) -> dict[str, float]:
    """Put a home under load while all read, and return what was seen."""
    number = -(-options.readers // MOST_READERS_OF_A_KEY)
    keys = [home.ask("api", "keys", "create", f"bench-{n}").decode().strip() for n in range(number)]
    symbols = [f"SYM{n:04}" for n in range(options.symbols)]
    readers = Readers(remembered_ports(home.path)["api"], keys, symbols, options.readers)
    client = client_settings(Settings(home=home.path))
    load(home, options, options.warm_up)
    with (
        readers.reading(),
        FreshnessProbe(client, TRADES_TOPIC, readers.visible) as probe,
        polling(probe, PAUSE_SECONDS) as failure,
    ):
        began, before = time.monotonic(), readers.events
        load(home, options, options.seconds)
        rate = (readers.events - before) / (time.monotonic() - began)
        deadline = time.monotonic() + OPEN_SECONDS
        while probe.unseen and time.monotonic() < deadline:
            failure.check()
            time.sleep(PAUSE_SECONDS)
        found, unseen = probe.freshness(), probe.unseen
    if found is None:
        raise RuntimeError("no trade was told to all")
    return {"readers": options.readers, "told_per_second": rate, **asdict(found), "unseen": unseen}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("readers", 200), ("rate", 1000), ("symbols", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, seconds in (("warm-up", 5.0), ("seconds", 30.0)):
        parser.add_argument(f"--{name}", type=float, default=seconds)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for limit in ("AT_ONCE", "PER_SECOND"):
        os.environ[f"LAKEHOUSE_API_REQUESTS_{limit}"] = UNLIMITED
    with running_home("streams", "--only", "live,api") as home:
        figures = measure(home, options)
    shown = Table(*figures)
    shown.add_row(*(f"{value:,.3f}".rstrip("0").rstrip(".") for value in figures.values()))
    Console().print(shown)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
