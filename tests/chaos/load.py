"""All streams at once, with every fault that their sources can have, and what was acknowledged."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from chaos.recording import write_recordings
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake

from ingestion.producer import EventProducer
from lakehouse.kafka import client_settings
from schemas.registry import schema_registry
from schemas.wire import EventCodec

# Messages a second: little, since it is not speed that is tested, and the machine is busy enough.
TRADES_RATE, MARKET_RATE, FILLS_RATE, CUSTOMERS_RATE = 10, 8, 4, 2
# Clients fill their orders on a market that has been recorded before the run.
HISTORY, HISTORY_RATE = timedelta(minutes=30), 1
LONGEST_RUN_SECONDS = 7_200
CUSTOMERS = 40
# The CRM's time passes somewhat faster than ours, from the time of the first fills on.
CRM_PACE_SECONDS = 0.75
TRADE_FAULTS = {
    "late": 0.05,
    "duplicate": 0.1,
    "out-of-order": 0.1,
    "corrections": 0.08,
    "cancels": 0.05,
    "bad": 0.05,
}
FILL_FAULTS = {"late": 0.1, "duplicate": 0.1, "out-of-order": 0.1, "busts": 0.05, "bad": 0.05}
CUSTOMER_FAULTS = {"duplicate": 0.1, "out-of-order": 0.1}
# By the command that sends it.
STREAMS = {"replay": "market", "synth": "market", "oms": "fills", "crm": "customers"}
REFUSED = "refused by producers"


@dataclass
class Load:
    """Commands that send, and what they have got acknowledged.

    Attributes:
        sent: Messages by stream; complete when all have ended.
    """

    lake: EmbeddedLake
    sent: Counter[str] = field(default_factory=Counter)
    _senders: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, verb: str, *words: str) -> None:
        """Start a command that sends until it is stopped."""
        self._senders[verb] = self.lake.spawn(verb, *words, "--json")

    def check(self) -> None:
        """See that all are still sending."""
        for verb, sender in self._senders.items():
            assert sender.poll() is None, f"{verb} has ended:\n{self.lake.tail(verb)}"

    def mark(self) -> None:
        """Send a trade of our own; return when it is acknowledged."""
        settings = self.lake.settings
        codec = EventCodec(schema_registry(settings), settings.max_payload_bytes)
        with EventProducer.connect(
            client_settings(settings), codec.encode, max_payload_bytes=settings.max_payload_bytes
        ) as producer:
            producer.send(
                {
                    "event_type": "TRADE",
                    "venue": "chaos",
                    "symbol": "MARK",
                    "trade_id": time.time_ns(),
                    "event_time": datetime.now(UTC),
                    "price": Decimal(1),
                    "quantity": Decimal(1),
                    "quantity_unit": "BASE",
                }
            )
        self.sent[STREAMS["synth"]] += 1

    def count(self, verb: str, printed: str) -> None:
        """Add what a command's summary says."""
        summary = json.loads(printed)
        self.sent[STREAMS[verb]] += summary["events"] + summary.get("undecodable", 0)
        self.sent[REFUSED] += sum(summary.get("rejected", {}).values())

    def stop(self) -> None:
        """Let all end in order: what they have sent is in the log then."""
        for sender in self._senders.values():
            sender.terminate()
        for verb, sender in self._senders.items():
            assert sender.wait(DEADLINE_SECONDS) == 0, f"{verb}:\n{self.lake.tail(verb)}"
            self.count(verb, self.lake.tail(verb).splitlines()[-1])

    def kill(self) -> None:
        """End what is left."""
        for sender in self._senders.values():
            if sender.poll() is None:
                os.killpg(sender.pid, signal.SIGKILL)
            sender.wait()


@contextmanager
def everything_sent(lake: EmbeddedLake, seed: int) -> Iterator[Load]:
    """Send all streams meanwhile; leaving it in order, what was sent is in the log."""
    now, folder = datetime.now(UTC), lake.settings.home / "recordings"
    folder.mkdir()
    past = write_recordings(
        folder / "past",
        start=now - HISTORY,
        seconds=HISTORY.total_seconds(),
        rate=HISTORY_RATE,
        seed=seed,
    )
    live = write_recordings(
        folder / "live", start=now, seconds=LONGEST_RUN_SECONDS, rate=MARKET_RATE, seed=seed + 1
    )
    load = Load(lake)
    load.count("replay", lake.run("replay", *_names(past), "--json"))
    try:
        load.start("replay", *_names(live), "--speed", "1")
        load.start(
            *("synth", "--rate", f"{TRADES_RATE}", "--symbols", "8", "--seed", f"{seed}"),
            *_options(TRADE_FAULTS),
        )
        load.start(
            *("oms", "simulate", *_names(past), "--rate", f"{FILLS_RATE}"),
            *("--fills", f"{FILLS_RATE * LONGEST_RUN_SECONDS}", "--seed", f"{seed}"),
            *_options(FILL_FAULTS),
        )
        load.start(
            *("crm", "simulate", "--rate", f"{CUSTOMERS_RATE}", "--customers", f"{CUSTOMERS}"),
            *("--changes", f"{CUSTOMERS_RATE * LONGEST_RUN_SECONDS}", "--seed", f"{seed}"),
            *("--start", f"{now - HISTORY:%Y-%m-%dT%H:%M:%S}", "--pace", f"{CRM_PACE_SECONDS}"),
            *_options(CUSTOMER_FAULTS),
        )
        yield load
        load.stop()
    finally:
        load.kill()


def _names(files: Sequence[Path]) -> list[str]:
    return [str(file) for file in files]


def _options(shares: dict[str, float]) -> list[str]:
    return [f"--{name}={share}" for name, share in shares.items()]
