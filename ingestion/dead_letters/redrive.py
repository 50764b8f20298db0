"""Gives dead letters another try, page by page: decide, send, then record what was sent.

A crash between sending and recording repeats at most a page. That is harmless, as any repeat is:
events fold by their identity, so that one that is in the log twice counts once.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ingestion.dead_letters.letters import DeadLetter, DeadLetters, Selection
from ingestion.dead_letters.lineage import Coordinates, Lineage, link
from ingestion.dead_letters.redrives import History, Outcome, Redrive, Redrives
from ingestion.dead_letters.remaking import Ignored, Refused, Remade, Remaker, Unfit
from lakehouse.dispatch import Dispatch, Message

# A fix takes hold after the first try, or after the second when the first was too early. What is
# refused once more is not mended by sending it, and would fill the dead letters with its copies.
MAX_ATTEMPTS: Final = 3


class Verdict(StrEnum):
    """What is, or in a dry run would be, done about a dead letter."""

    SENT = "sent"
    IGNORED = "ignored"
    REFUSED = "refused again"
    ALREADY = "redriven already"
    EXHAUSTED = "attempts used up"
    UNFIT = "cannot be redriven"


OUTCOMES: Final = {
    Verdict.SENT: Outcome.SENT,
    Verdict.IGNORED: Outcome.IGNORED,
    Verdict.REFUSED: Outcome.REFUSED,
}


@dataclass(frozen=True)
class Decision:
    """What is done about one dead letter, and why.

    Attributes:
        attempt: How often what was refused first has been sent again, this time included.
    """

    letter: DeadLetter
    verdict: Verdict
    attempt: int = 0
    detail: str | None = None
    message: Message | None = None


@dataclass
class Redriver:
    """One run of `lakehouse dlq redrive`.

    Attributes:
        letters: The dead letters.
        redrives: The audit trail.
        remaker: Makes messages of letters.
        dispatch: Where these go; without one, nothing is sent and nothing recorded.
        again: Also what was redriven already.
        max_attempts: What was sent again so often stays.
        redrive_id: Marks what this run does, in headers and audit trail.
    """

    letters: DeadLetters
    redrives: Redrives
    remaker: Remaker
    dispatch: Dispatch[Coordinates] | None = None
    again: bool = False
    max_attempts: int = MAX_ATTEMPTS
    redrive_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    # What this run itself has sent or would send, by origin.
    _sent: Counter[Coordinates] = field(default_factory=Counter, init=False)

    def run(self, selection: Selection) -> Iterator[Decision]:
        """Redrive the selected letters in the order of the log; yield what was done about each.

        Raises:
            DeliveryError: The log did not take a message; what it took is recorded.
        """
        for page in self.letters.pages(selection):
            decisions = self._decide(page)
            if self.dispatch is not None:
                self._carry_out(self.dispatch, decisions)
            yield from decisions

    def _decide(self, page: Sequence[DeadLetter]) -> list[Decision]:
        origins = {letter.lineage.origin for letter in page if letter.lineage}
        history = self.redrives.history(origins, but=self.redrive_id)
        return [self._judge(letter, history) for letter in page]

    def _judge(self, letter: DeadLetter, history: History) -> Decision:
        place, lineage = letter.place, letter.lineage
        if place is None or lineage is None:
            return _decision(letter, self.remaker.remake(letter), attempt=0)
        attempts = self._attempts(lineage, history)
        if place in history.settled and not self.again:
            return Decision(letter, Verdict.ALREADY, attempts)
        if attempts >= self.max_attempts:
            detail = f"sent again {attempts} times, at most {self.max_attempts} are allowed"
            return Decision(letter, Verdict.EXHAUSTED, attempts, detail)
        decision = _decision(letter, self.remaker.remake(letter), attempt=attempts)
        if decision.message is not None:
            self._sent[lineage.origin] += 1
        return decision

    def _attempts(self, lineage: Lineage, history: History) -> int:
        # A crash may have kept a try out of the audit trail; its event's headers tell of it.
        recorded = history.attempts[lineage.origin] + self._sent[lineage.origin]
        return max(recorded, lineage.attempts)

    def _carry_out(self, dispatch: Dispatch[Coordinates], decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            place, lineage = decision.letter.place, decision.letter.lineage
            if decision.message is None or place is None or lineage is None:
                continue
            links = link(
                place, lineage.origin, attempt=decision.attempt, redrive_id=self.redrive_id
            )
            dispatch.put(place, decision.message, links)
        delivery = dispatch.deliver()
        self.redrives.append(
            [
                Redrive(
                    self.redrive_id,
                    decision.letter,
                    decision.attempt,
                    OUTCOMES[decision.verdict],
                    decision.detail,
                    delivery.sent.get(decision.letter.place) if decision.letter.place else None,
                )
                for decision in decisions
                if decision.verdict in OUTCOMES
                and (decision.message is None or decision.letter.place in delivery.sent)
            ]
        )
        if delivery.failure is not None:
            raise delivery.failure


def _decision(letter: DeadLetter, remade: Remade, *, attempt: int) -> Decision:
    match remade:
        case Message():
            return Decision(letter, Verdict.SENT, attempt + 1, message=remade)
        case Refused(detail):
            return Decision(letter, Verdict.REFUSED, attempt, detail)
        case Ignored():
            return Decision(letter, Verdict.IGNORED, attempt)
        case Unfit(detail):
            return Decision(letter, Verdict.UNFIT, attempt, detail)
