"""Requests to the API on this machine: cached, live, and each asked of the SQL engine.

Usage: python bench/api.py [--clients 8] [--seconds 15] [--symbols 20] [--days 3] [--json out.json]
       python bench/api.py --stack [--clients 4] [--seconds 30]

On a home of its own: a broker, the live tier and the API. The batch table of one-minute bars is
filled for some days, and the live tier by a few seconds of synthetic trades. Clients ask one after
the other, without a pause, for a hundred bars each time: all the same ones, within the time that an
answer is kept (cached); those of the live tier; or each others than before (engine). The clients
share the machine with what they ask.

With ``--stack`` it asks the running stack of LAKEHOUSE_HOME, as it is, for bars that Trino has to
merge each time.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import requests
from _homes import BenchHome, running_home
from merged_query import BATCH, MINUTES_A_DAY, START, bars
from rich.console import Console
from rich.table import Table

from lakehouse.catalog import load_catalog
from lakehouse.processes import remembered_ports
from lakehouse.settings import Settings

ROWS = 100
SYMBOL = "SYM0000"
UNLIMITED = "1000000"
Parameters = dict[str, Any]


def questions(options: argparse.Namespace) -> dict[str, Callable[[int], Parameters]]:
    """Return the parameters of the n-th request of each kind."""
    minutes = options.days * MINUTES_A_DAY - ROWS

    def others(number: int) -> Parameters:
        start = START + timedelta(minutes=number * 7 % minutes)
        symbol = f"SYM{number % options.symbols:04}"
        return {"symbol": symbol, "start": start.isoformat(), "limit": ROWS}

    return {
        "cached": lambda _: {"symbol": SYMBOL, "start": START.isoformat(), "limit": ROWS},
        "live": lambda _: {"tier": "live", "limit": ROWS},
        "engine": others,
    }


def newest(number: int) -> Parameters:
    """Return the parameters of a request for rows that no other has asked for lately."""
    return {"limit": 1 + number % 1000}


def ask(
    address: str,
    key: str,
    question: Callable[[int], Parameters],
    options: argparse.Namespace,
    *,
    authority: Path | None = None,
) -> dict[str, float]:
    """Let all clients ask for some time, and return what it took in milliseconds."""
    numbers, ends = count(), time.monotonic() + options.seconds
    # Said with each request: where a session says it, REQUESTS_CA_BUNDLE wins.
    verify = True if authority is None else str(authority)

    def client(_: int) -> list[float]:
        taken = []
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {key}"
            while time.monotonic() < ends:
                began = time.perf_counter()
                answer = session.get(
                    f"{address}/v1/bars", params=question(next(numbers)), timeout=60, verify=verify
                )
                answer.raise_for_status()
                if answer.json()["meta"]["degraded"] or not answer.json()["data"]:
                    raise RuntimeError(f"not what was asked for: {answer.text[:300]}")
                taken.append((time.perf_counter() - began) * 1000)
        return taken

    with ThreadPoolExecutor(options.clients) as pool:
        taken = [one for some in pool.map(client, range(options.clients)) for one in some]
    cuts = statistics.quantiles(taken, n=100)
    return {
        "requests_per_second": len(taken) / options.seconds,
        "p50_ms": cuts[49],
        "p95_ms": cuts[94],
        "p99_ms": cuts[98],
    }


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the figures of each kind of request."""
    for limit in ("AT_ONCE", "PER_SECOND"):
        os.environ[f"LAKEHOUSE_API_REQUESTS_{limit}"] = UNLIMITED
    with running_home("api", "--only", "live,api") as home:
        catalog = load_catalog(Settings(home=home.path))
        rows = bars(options.symbols, START, options.days * MINUTES_A_DAY, 0)
        catalog.load_table(BATCH).append(rows)
        home.ask("synth", "--rate", "2000", "--seconds", "5", "--json")
        address = f"http://127.0.0.1:{remembered_ports(home.path)['api']}"
        key = (home.path / "keys" / "api-local").read_text()
        return {
            kind: ask(address, key, asked, options) for kind, asked in questions(options).items()
        }


def measure_stack(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the figures of what Trino is asked, with a key for a day."""
    home = BenchHome(Settings().home)
    key = home.ask("api", "keys", "create", "bench", "--days", "1").decode().strip()
    address = f"https://127.0.0.1:{remembered_ports(home.path)['api']}"
    authority = home.path / "tls" / "ca.pem"
    return {"trino": ask(address, key, newest, options, authority=authority)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("clients", 8), ("seconds", 15), ("symbols", 20), ("days", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stack", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure_stack(options) if options.stack else measure(options)
    shown = Table("read", "requests/s", "p50 ms", "p95 ms", "p99 ms")
    for kind, figures in found.items():
        shown.add_row(kind, *(f"{value:,.1f}" for value in figures.values()))
    Console().print(shown)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
