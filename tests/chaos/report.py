"""What a run of chaos tells: the faults, the recoveries, and where every message went."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from chaos.schedule import JOBS, Kind, Planned

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
        faults: Each, and the seconds that each layer took to pass what was sent after it; of a
            job that was killed, the seconds that the next of its kind took.
        acknowledged: Messages that their senders know to be in the log.
        streams: Where they are.
        jobs: Jobs by verb and end.
        ended: Layers that ended by themselves.
    """

    seed: int
    seconds: float
    faults: Sequence[tuple[Planned, Mapping[str, float]]]
    acknowledged: int
    streams: Sequence[Stream]
    jobs: Counter[str] = field(default_factory=Counter)
    ended: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.faults)} faults in {self.seconds:.0f} s",
                *(_recovery_line(fault, seconds) for fault, seconds in self.faults),
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
            seconds = [passed for found, passed in self.faults if found.kind is kind]
            if seconds:
                times = (_times([passed[layer] for passed in seconds]) for layer in LAYERS)
                line = _columns(kind, str(len(seconds)), *times)
                if job := JOBS.get(kind):
                    line += f"; the next {job} took {_times([one[job] for one in seconds])}"
                yield line

    def _stream_lines(self) -> Iterable[str]:
        yield _columns("topic", "in the log", "accounted for once", "accepted, of them repeated")
        for stream in self.streams:
            yield _columns(
                stream.topic,
                f"{stream.in_the_log:,}",
                f"{stream.accounted_for:,}",
                f"{stream.accepted:,}, {stream.repeated:,}",
            )


def _recovery_line(fault: Planned, seconds: Mapping[str, float]) -> str:
    names = LAYERS | {job: f"the next {job} took" for job in JOBS.values()}
    told = ", ".join(f"{names[name]} {passed:.1f} s" for name, passed in seconds.items())
    return f"  {fault}: {told}"


def _times(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f} s, at most {max(seconds):.1f}"


def _columns(first: str, second: str, third: str, fourth: str) -> str:
    return f"  {first:<24} {second:>10}  {third:<24} {fourth}"
