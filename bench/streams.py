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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from _homes import BenchHome, running_home

from demo.freshness import FreshnessProbe, Positions, polling
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import remembered_ports
from lakehouse.settings import Settings
from serving.api.stream import MOST_READERS_OF_A_KEY
from serving.client import Client

PAUSE_SECONDS = 0.005
_INSTRUMENT = ("venue", "symbol")
OPEN_SECONDS = 60.0
UNLIMITED = "1000000"
_LAST_OFFSET = re.compile(rb'"last_offset":(\d+)')


class Readers:
    """Connections that follow the stream, and how far each has been told.

    Args:
        port: The API's.
        keys: API keys, one for each connection in turn.
        instruments: Venue and symbol, likewise.
        number: How many connections.
    """

    def __init__(
        self, port: int, keys: list[str], instruments: list[tuple[str, str]], number: int
    ) -> None:
        self.events = 0
        self._port, self._keys, self._instruments = port, keys, instruments
        self._told: list[int | None] = [None] * number

    def visible(self) -> Positions:
        """Return how far every reader of an instrument has been told, at least."""
        every = len(self._instruments)
        groups = {
            f"{venue}:{symbol}": self._told[n::every]
            for n, (venue, symbol) in enumerate(self._instruments)
        }
        return {
            name: min(told)
            for name, group in groups.items()
            if group and len(told := [one for one in group if one is not None]) == len(group)
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read in a thread of their own, until left; every reader has been told something by then.

        Raises:
            RuntimeError: A stream was refused, or has ended.
        """
        with ThreadPoolExecutor(1) as thread:
            over = threading.Event()
            reading = thread.submit(asyncio.run, self._read_all(over))
            try:
                deadline = time.monotonic() + OPEN_SECONDS
                while None in self._told and not reading.done():
                    if time.monotonic() > deadline:
                        raise RuntimeError("not every reader was told anything")
                    time.sleep(PAUSE_SECONDS)
                yield
            finally:
                over.set()
            reading.result()

    async def _read_all(self, over: threading.Event) -> None:
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(n)) for n in range(len(self._told))]
            await asyncio.to_thread(over.wait)
            for reader in readers:
                reader.cancel()

    async def _read(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        venue, symbol = self._instruments[number % len(self._instruments)]
        key = self._keys[number % len(self._keys)]
        writer.write(
            f"GET /v1/stream?venue={venue}&symbol={symbol} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {key}\r\n\r\n".encode()
        )
        status = await reader.readline()
        if status.split()[1] != b"200":
            raise RuntimeError(status.decode())
        while line := await reader.readline():
            if (found := _LAST_OFFSET.search(line)) is not None:
                self._told[number] = max(int(found[1]), self._told[number] or 0)
                self.events += 1
        raise RuntimeError("a stream has ended")


def load(home: BenchHome, options: argparse.Namespace, seconds: float) -> None:
    """Produce trades for some time."""
    limits = ["--rate", str(options.rate), "--symbols", str(options.symbols)]
    home.ask("synth", *limits, "--seconds", str(seconds), "--seed", "7", "--json")


def measure(home: BenchHome, options: argparse.Namespace) -> dict[str, float]:
    """Put a home under load while all read, and return what was seen."""
    number = -(-options.readers // MOST_READERS_OF_A_KEY)
    keys = [home.ask("api", "keys", "create", f"bench-{n}").decode().strip() for n in range(number)]
    client, port = client_settings(Settings(home=home.path)), remembered_ports(home.path)["api"]
    load(home, options, options.warm_up)
    with Client(f"http://127.0.0.1:{port}", keys[0]) as api:
        rows = api.bars(tier="live").table
    instruments = sorted(set(zip(*(rows[name].to_pylist() for name in _INSTRUMENT), strict=True)))
    readers = Readers(port, keys, instruments, options.readers)
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
    return {
        "readers": options.readers,
        "rows_told_a_second": round(rate),
        **asdict(found),
        "unseen": unseen,
    }


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
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
