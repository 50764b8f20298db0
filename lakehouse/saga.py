"""Sagas: work in steps that no one transaction spans, each step put on record as it is done.

Whoever goes on after a crash begins with the step that is not on record, so a step is to have the
same effect when it is done again. One step is the pivot. What refuses to be done up to it is undone
again, in reverse order; after it there is no way back, and what fails is tried until it is done.
The terms are those of H. Garcia-Molina and K. Salem, "Sagas", SIGMOD 1987, and of the microservice
patterns made of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lakehouse.errors import LakehouseError, first_line


class Outcome(StrEnum):
    """What became of a step."""

    DONE = "DONE"
    FAILED = "FAILED"  # it is tried again
    REFUSED = "REFUSED"  # it is not
    UNDONE = "UNDONE"


@dataclass(frozen=True)
class Step:
    """A step of a saga.

    Attributes:
        run: Does it; the same once more.
        undo: Takes it back as far as that can be, the same once more; None if there is nothing to
            take back.
        is_pivot: From here on there is no way back.
    """

    name: str
    run: Callable[[], None]
    undo: Callable[[], None] | None = None
    is_pivot: bool = False


class Journal(Protocol):
    """Keeps what became of the steps of one saga."""

    def outcomes(self) -> Mapping[str, Outcome]:
        """Return what is on record, by step."""

    def note(self, step: str, outcome: Outcome, detail: str | None = None) -> None:
        """Put on record what became of a step, durably."""


class Unrecorded:
    """The journal of a saga that a person watches, who begins it again if need be."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}

    def outcomes(self) -> Mapping[str, Outcome]:
        """Return what became of the steps."""
        return self._outcomes

    def note(self, step: str, outcome: Outcome, detail: str | None = None) -> None:
        """Remember what became of a step."""
        del detail
        self._outcomes[step] = outcome


class SagaRefusedError(LakehouseError):
    """A step cannot be done, and what was done before it is undone."""


def carry_out(steps: Sequence[Step], journal: Journal, *, refusals: type[Exception]) -> None:
    """Do the steps that are not on record as done, in order.

    Args:
        steps: All of them.
        journal: What is on record of them.
        refusals: Errors that mean that a step will never be done.

    Raises:
        SagaRefusedError: A step was refused before; by now all that was done is undone.
        Exception: A step's own error. It is on record: as REFUSED, with what was done before it
            undone; or as FAILED, and the saga is to be gone on with.
    """
    known = journal.outcomes()
    for number, step in enumerate(steps):
        if known.get(step.name) is Outcome.REFUSED:
            _undo(steps[:number], journal)
            raise SagaRefusedError(f"{step.name} was refused before")
    for number, step in enumerate(steps):
        if known.get(step.name) is Outcome.DONE:
            continue
        try:
            step.run()
        except Exception as error:
            after_pivot = any(one.is_pivot for one in steps[:number])
            is_refused = isinstance(error, refusals) and not after_pivot
            outcome = Outcome.REFUSED if is_refused else Outcome.FAILED
            journal.note(step.name, outcome, first_line(error))
            if is_refused:
                _undo(steps[:number], journal)
            raise
        journal.note(step.name, Outcome.DONE)


def _undo(done: Sequence[Step], journal: Journal) -> None:
    known = journal.outcomes()
    for step in reversed(done):
        if step.undo is not None and known.get(step.name) is not Outcome.UNDONE:
            step.undo()
            journal.note(step.name, Outcome.UNDONE)
