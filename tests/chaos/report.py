"""What a run of chaos tells: the faults, the recoveries, and where every message went."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from chaos.schedule import Kind

LAYERS = {"land": "lander", "speed": "speed layer"}


@dataclass(frozen=True)
class Stream:
    """Where the messages of one topic went.

    Attributes:
        accounted_for: In bronze or among the dead letters, each once.
        repeated: Accepted, and said before.
    """

    topic: str
    in_the_log: int
    accounted_for: int
    accepted: int
    repeated: int


@dataclass
class Report:
    """Of one run.

    Attributes:
        seed: Gives the same schedule again.
        seconds: How long all of it took.
        faults: By kind, the seconds that each layer took to pass what was sent after each.
        acknowledged: Messages that their senders know to be in the log.
        streams: Where they are.
        jobs: Jobs by verb and end.
        ended: Layers that ended by themselves.
    """

    seed: int
    seconds: float
    faults: Sequence[tuple[Kind, Mapping[str, float]]]
    acknowledged: int
    streams: Sequence[Stream]
    jobs: Counter[str] = field(default_factory=Counter)
    ended: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.faults)} faults in {self.seconds:.0f} s",
                *self._fault_lines(),
                f"{self.acknowledged:,} events sent and acknowledged",
                *self._stream_lines(),
                "jobs: "
                + (", ".join(f"{count} {what}" for what, count in sorted(self.jobs.items()))),
                *(f"ended by itself: {words}" for words in self.ended),
            ]
        )

    def _fault_lines(self) -> Iterable[str]:
        yield _columns("fault", "times", *(f"{name} again after" for name in LAYERS.values()))
        for kind in Kind:
            seconds = [passed for found, passed in self.faults if found is kind]
            if seconds:
                times = (_times([passed[layer] for passed in seconds]) for layer in LAYERS)
                yield _columns(kind, str(len(seconds)), *times)

    def _stream_lines(self) -> Iterable[str]:
        yield _columns("topic", "in the log", "accounted for once", "accepted, of them repeated")
        for stream in self.streams:
            yield _columns(
                stream.topic,
                f"{stream.in_the_log:,}",
                f"{stream.accounted_for:,}",
                f"{stream.accepted:,}, {stream.repeated:,}",
            )


def _times(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f} s, at most {max(seconds):.1f}"


def _columns(first: str, second: str, third: str, fourth: str) -> str:
    return f"  {first:<24} {second:>10}  {third:<24} {fourth}"
