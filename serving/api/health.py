"""Whether the API lives, and whether it is ready: told so that a passing trouble does not show."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from anyio import fail_after
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from lakehouse.errors import first_line
from serving.api.metrics import READY

CHECK_SECONDS = 2.0
# What takes longer to answer a question without content is away.
ANSWER_SECONDS = 5.0
# One bad answer is a hiccup, and one good one no recovery.
BAD_IN_A_ROW, GOOD_IN_A_ROW = 3, 2

_log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises whatever says that something is not well."""


@dataclass
class Condition:
    """Whether something is well, as of so many answers in a row that say so."""

    is_well: bool = False
    has_answered: bool = False
    in_a_row: int = 0

    def take(self, trouble: str | None) -> None:
        """Take an answer: None, or what is wrong. The first one counts by itself."""
        if (trouble is None) == self.is_well and self.has_answered:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        needed = 1 if not self.has_answered else BAD_IN_A_ROW if self.is_well else GOOD_IN_A_ROW
        if self.in_a_row >= needed:
            self.is_well, self.in_a_row = trouble is None, 0
        self.has_answered = True


@dataclass
class Health:
    """What the API depends on, asked again and again.

    Attributes:
        needed: Without one of these there is no answer at all.
        useful: Of these one suffices: the others' absence makes answers poorer.
    """

    needed: Mapping[str, Check]
    useful: Mapping[str, Check]
    conditions: dict[str, Condition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conditions = {name: Condition() for name in [*self.needed, *self.useful]}

    async def watch(self, *, every: float = CHECK_SECONDS) -> None:
        """Ask, without end."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Ask everything once."""
        checks = {**self.needed, **self.useful}
        troubles = await asyncio.gather(*(_trouble(check) for check in checks.values()))
        for name, trouble in zip(checks, troubles, strict=True):
            condition = self.conditions[name]
            before = (condition.has_answered, condition.is_well)
            condition.take(trouble)
            if (condition.has_answered, condition.is_well) != before:
                tell = _log.info if condition.is_well else _log.warning
                tell("a dependency", name=name, is_well=condition.is_well, detail=trouble)
        READY.set(self.is_ready())

    def is_ready(self) -> bool:
        """Whether requests can be answered, be it poorly."""
        needed = all(self.conditions[name].is_well for name in self.needed)
        return needed and any(self.conditions[name].is_well for name in self.useful)

    def told(self) -> dict[str, str]:
        """Return of each dependency whether it is ``ok`` or ``away``: why is for the log alone."""
        return {name: "ok" if one.is_well else "away" for name, one in self.conditions.items()}


class HealthAnswer(BaseModel):
    """What a health check is told."""

    status: str = Field(examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"keys": "ok", "engine": "ok"}])


def routes(health: Health) -> APIRouter:
    """Return the two questions that whoever runs the API asks it."""
    router = APIRouter(prefix="/health", tags=["operations"])

    @router.get("/live")
    async def live() -> HealthAnswer:
        """Tell whether the process answers at all; if not, start it anew."""
        return HealthAnswer(status="alive", checks={})

    @router.get("/ready", responses={503: {"model": HealthAnswer, "description": "Not ready"}})
    async def ready(response: Response) -> HealthAnswer:
        """Tell whether to send requests here, by several looks at what is needed for answers.

        The key database is needed; of the SQL engine and the live tier, one.
        """
        is_ready = health.is_ready()
        response.status_code = 200 if is_ready else 503
        return HealthAnswer(status="ready" if is_ready else "not ready", checks=health.told())

    return router


async def _trouble(check: Check) -> str | None:
    try:
        with fail_after(ANSWER_SECONDS):
            await check()
    except Exception as error:  # whatever a database, an engine or a broker may raise
        return first_line(error)
    return None


def unless(is_well: Callable[[], Any], detail: str) -> Check:
    """Return a check of something that is known without waiting."""

    async def check() -> None:
        if not is_well():
            raise RuntimeError(detail)

    return check
