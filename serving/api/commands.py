"""The routes of commands: changes that are taken in at once and carried out later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, Field

from lakehouse.errors import LakehouseError, first_line
from lakehouse.tracing import trace_headers
from schemas.wire import UnencodableError
from serving.api import problems
from serving.api.authentication import authenticated, check_operates, operating
from serving.api.problems import ProblemError, documented
from serving.api.relations import Dataset
from serving.commands.desk import CommandDesk
from serving.commands.requests import ErasureRequest, TradeCorrection
from serving.commands.status import FINAL, Status
from serving.commands.store import Command, KeyReusedError, Kind

_log = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
# An operator's key of the dataset may ask for a command of the kind, and after it.
SCOPES: dict[Kind, Dataset] = {Kind.TRADE_CORRECTION: "market", Kind.ERASURE: "clients"}
_ID = "0f2b7f5e-6c1d-4f0d-9a4f-6f1b6a2c9e11"
_PROBLEMS = (
    problems.UNAUTHENTICATED,
    problems.FORBIDDEN,
    problems.INVALID_REQUEST,
    problems.RATE_LIMITED,
    problems.UNAVAILABLE,
)

IdempotencyKey = Annotated[
    str,
    Header(
        alias=HEADER,
        pattern=r"^[!-~]{1,255}$",
        description="Stands for this request among those of your API key, such as a UUID: sent "
        "again with the same request, that is one command and the same answer.",
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


class Accepted(BaseModel):
    """A command that was taken in; the same one answers whenever its request is sent again."""

    id: str = Field(examples=[_ID])
    kind: Kind
    accepted_at: datetime
    status_at: str = Field(
        description="Where its status is.",
        examples=[f"/v1/commands/{_ID}"],
    )


class Place(BaseModel):
    """Where the command's message stands in the log."""

    topic: str = Field(examples=["market.trades"])
    partition: int
    offset: int
    sent_at: datetime


class StepDone(BaseModel):
    """What became of a step of a command that takes several."""

    step: str = Field(examples=["destroy-key"])
    outcome: str = Field(description="DONE, FAILED (it is tried again), REFUSED or UNDONE.")
    tries: int
    detail: str | None = Field(description="What went wrong the last time.")
    at: datetime


class CommandStatus(BaseModel):
    """How far a command has come."""

    id: str
    kind: Kind
    status: Status = Field(
        description="Of a correction: accepted, sent to the log, landed in bronze, reflected in "
        "the merged view, reconciled by batch; of an erasure: accepted, sent, erased. Refused: "
        "`detail` says why."
    )
    is_final: bool = Field(description="Whether it will change no more.")
    detail: str | None
    requested_by: str = Field(description="The id of the API key.")
    request: dict[str, Any] = Field(description="What was asked for.")
    accepted_at: datetime
    log: Place | None = Field(description="Null until the log has acknowledged it.")
    steps: list[StepDone]


def routes(desk: CommandDesk) -> APIRouter:
    """Return the routes on which commands are asked for and asked after."""
    router = APIRouter(prefix="/v1/commands", tags=["commands"])

    @router.post("/trade-corrections", **_taking(Kind.TRADE_CORRECTION))
    def correct_trade(
        request: Request, response: Response, body: TradeCorrection, key: IdempotencyKey
    ) -> Accepted:
        """Correct or cancel a trade: an event of its topic, in the order in which you ask.

        Of several corrections the last one counts; a cancellation holds for good. A correction of a
        trade that was never reported waits for it.
        """
        return _taken(desk.correct_trade, request, response, body, key)

    @router.post("/erasures", **_taking(Kind.ERASURE))
    def erase(
        request: Request, response: Response, body: ErasureRequest, key: IdempotencyKey
    ) -> Accepted:
        """Destroy a customer's key, for good: nobody can read their personal data from then on."""
        return _taken(desk.erase, request, response, body, key)

    @router.get(
        # Not any text: the paths above are none of a command.
        "/{command:uuid}",
        responses=documented(*_PROBLEMS, problems.NO_SUCH_COMMAND),
        dependencies=[Depends(authenticated)],
    )
    def status(request: Request, command: Annotated[UUID, Path(examples=[_ID])]) -> CommandStatus:
        """Tell how far a command has come. What is in the lake of it is looked up as you ask."""
        with _told():
            found = desk.find(str(command))
        if found is None:
            raise ProblemError(problems.NO_SUCH_COMMAND, f"there is no command {command}")
        check_operates(request, SCOPES[found.request.kind])
        return _status(found, desk)

    return router


def _taking(kind: Kind) -> dict[str, Any]:
    told = documented(
        *_PROBLEMS,
        problems.NO_IDEMPOTENCY_KEY,
        problems.IDEMPOTENCY_KEY_REUSED,
        problems.TOO_SLOW,
        problems.TOO_LARGE,
    )
    location = {"description": "Where its status is.", "schema": {"type": "string"}}
    return {
        "status_code": 202,
        "responses": {202: {"headers": {"Location": location}}, **told},
        "dependencies": [Depends(operating(SCOPES[kind])), Depends(_keyed)],
    }


def _keyed(request: Request) -> None:
    if not _unquoted(request.headers.get(HEADER, "")):
        said = f"send {HEADER}: a text of your choice that stands for this request, such as a UUID"
        raise ProblemError(problems.NO_IDEMPOTENCY_KEY, said)


def _unquoted(key: str) -> str:
    # The draft of the header has quotes around the key, which many clients leave out.
    return key.strip('"')


def _taken(
    take: Callable[..., Command], request: Request, response: Response, body: BaseModel, key: str
) -> Accepted:
    with _told():
        command = take(
            body,
            requested_by=request.state.key.id,
            idempotency_key=_unquoted(key),
            trace=trace_headers(request.headers),
        )
    status_at = f"/v1/commands/{command.id}"
    response.headers["Location"] = status_at
    return Accepted(
        id=command.id,
        kind=command.request.kind,
        accepted_at=command.accepted_at,
        status_at=status_at,
    )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except KeyReusedError as error:
        raise ProblemError(problems.IDEMPOTENCY_KEY_REUSED, str(error)) from error
    except UnencodableError as error:
        raise ProblemError(problems.INVALID_REQUEST, str(error)) from error
    except LakehouseError as error:
        # What it says may name hosts and files, which are none of a client's business.
        _log.warning("a command cannot be taken or found", error=first_line(error))
        said = "database or schema registry do not answer; the API's log tells why"
        raise ProblemError(problems.UNAVAILABLE, said, headers={"Retry-After": "5"}) from error


def _status(command: Command, desk: CommandDesk) -> CommandStatus:
    standing, sent, at = desk.standing(command), command.sent, command.sent_at
    return CommandStatus(
        id=command.id,
        kind=command.request.kind,
        status=standing.status,
        is_final=standing.status in FINAL,
        detail=standing.detail,
        requested_by=command.request.requested_by,
        request=dict(command.request.body),
        accepted_at=command.accepted_at,
        log=None
        if sent is None or at is None
        else Place(topic=sent.topic, partition=sent.partition, offset=sent.offset, sent_at=at),
        steps=[StepDone(**vars(step)) for step in command.steps.values()],
    )
