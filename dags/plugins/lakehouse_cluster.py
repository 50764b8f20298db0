"""What runs where: short verbs of the platform here, verbs that compute on the Spark cluster.

Operators and triggers are found by every process of Airflow, so they lie in its folder of plugins.
Of the platform they know its command line and the pages of its cluster, and nothing else.
"""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from airflow.exceptions import AirflowException
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from lakehouse_lineage import parent_of

POLL_SECONDS = 3.0
# Most drivers are done so soon that a task which waits itself is quicker than the triggerer.
PATIENCE_SECONDS = 30.0
# A scheduler that hears that a task goes on before it has heard that it waits takes it for lost.
SETTLED_SECONDS = 10.0
PAGE_SECONDS = 10.0
# A master that was restarted is back within a minute.
SILENCE_SECONDS = 600.0
LOG_BYTES = 65_536
# Spark's words for a driver that will not run any more, and ours for one that it has forgotten.
FINISHED = "FINISHED"
UNKNOWN = "UNKNOWN"
ENDED = (FINISHED, "FAILED", "KILLED", "ERROR", UNKNOWN)
# Ours for one that runs on, beyond the step that is waited for.
REACHED = "REACHED"
OVER = (*ENDED, REACHED)
# By step of a run: the line of its log that tells that the step is done.
STEPS: Mapping[str, tuple[str, str]] = {
    "silver": ("written", "silver."),
    "gold": ("written", "gold."),
    "audit": ("audited", ""),
}

# The words of Spark's launcher of Python programs.
EXITED = re.compile(r"User application exited with (\d+)")
# The platform's exit codes for what it is asked wrongly, and for a verdict.
REFUSALS = (2, 3)

Driver = dict[str, str]
"""``driver_id``, and the ``page`` of the master that has it."""


class VerbFailedError(AirflowException):
    """A verb of the platform failed; the message has its own words."""


class VerbRefusedError(AirflowFailException):
    """A verb said no: it was asked for what it cannot do, or has judged. Another try is no use."""


def lakehouse(words: Sequence[str], **environ: str) -> str:
    """Run the platform's command line to its end; return what it prints.

    Args:
        words: The verb and its options.
        environ: Variables that it gets beside those of this process.

    Raises:
        VerbRefusedError: It said no.
        VerbFailedError: It failed.
    """
    done = subprocess.run(
        ["lakehouse", *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        failed = VerbRefusedError if done.returncode in REFUSALS else VerbFailedError
        raise failed(f"lakehouse {' '.join(words)}: {last_line(done.stderr)}")
    return done.stdout


def last_line(text: str) -> str:
    """Return the last line that says anything: of a verb that failed, why.

    What is indented is where in the code, of Python and of Java.
    """
    said = (line.rstrip() for line in reversed(text.splitlines()) if line[:1].strip())
    return next(said, "no word")


def state_of(driver: Driver, step: str | None = None) -> str:
    """Return a driver's state by the master's page, or REACHED if it is beyond a step.

    Raises:
        OSError: The page does not answer.
    """
    state, worker = _known_to_master(driver)
    if state != FINISHED and step and worker and _is_beyond(step, worker, driver):
        return REACHED
    return state


def exit_code_of(driver: Driver) -> int | None:
    """Return what a driver's verb has exited with; None if nobody tells.

    Raises:
        OSError: A page does not answer.
    """
    _, worker = _known_to_master(driver)
    found = EXITED.search(_said(worker, driver, "stderr")) if worker else None
    return int(found[1]) if found else None


def _known_to_master(driver: Driver) -> tuple[str, str | None]:
    """Return the state of a driver, and the page of the worker that has it."""
    master = json.loads(_read(f"{driver['page']}/json/"))
    known = {row["id"]: row for row in (*master["activedrivers"], *master["completeddrivers"])}
    row = known.get(driver["driver_id"])
    if row is None:
        return UNKNOWN, None
    pages = {worker["id"]: worker["webuiaddress"] for worker in master["workers"]}
    return str(row["state"]), pages.get(row.get("worker"))


def _is_beyond(step: str, worker: str, driver: Driver) -> bool:
    event, table = STEPS[step]
    return any(
        f'"event": "{event}"' in line and f'"{table}' in line
        for line in _said(worker, driver, "stdout").splitlines()
    )


def _said(worker: str, driver: Driver, stream: str) -> str:
    """Return what a verb has said on ``stdout``, or on ``stderr`` its launcher."""
    asked = {"driverId": driver["driver_id"], "logType": stream, "byteLength": LOG_BYTES}
    return _read(f"{worker}/log/?{urlencode(asked)}")


def _read(url: str) -> str:
    with urlopen(url, timeout=PAGE_SECONDS) as answer:
        return str(answer.read().decode(errors="replace"))


def _flat(words: Sequence[Any]) -> list[str]:
    """Return words, with the items of those that are lists in their place."""
    return [
        str(one) for word in words for one in (word if isinstance(word, list | tuple) else [word])
    ]


class DriverTrigger(BaseTrigger):
    """Fires when a driver on the cluster has ended, or is beyond a step of its work."""

    def __init__(self, driver: Driver, step: str | None) -> None:
        super().__init__()
        self.driver, self.step = driver, step

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how to make this trigger again in the triggerer."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return name, {"driver": self.driver, "step": self.step}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask the master again and again; one that is being restarted is waited for."""
        heard_at = time.monotonic()
        await asyncio.sleep(SETTLED_SECONDS)
        while True:
            try:
                state = await asyncio.to_thread(state_of, self.driver, self.step)
                heard_at = time.monotonic()
            except OSError:
                state = UNKNOWN if time.monotonic() - heard_at > SILENCE_SECONDS else "SILENT"
            if state in OVER:
                yield TriggerEvent(state)
                return
            await asyncio.sleep(POLL_SECONDS)


class LakehouseJob(BaseOperator):
    """A verb that computes, as a driver on the Spark cluster; no worker waits for a long one.

    A retry finds the driver that an earlier try has submitted, and goes on watching it; only when
    that one ended badly, or is unknown to the cluster, it submits another. A task that was cleared
    submits anew: whoever clears it wants it done again.

    The verbs are idempotent, so a driver too many costs time and changes nothing.

    Args:
        words: The verb and its options, templated; a list among them stands for its items.
        step: Be done when the run has come so far (see ``STEPS``); at its end if None.
        of: The driver of the step before, templated: it is watched on instead of another.
        patience: The seconds that the task waits itself, before the triggerer does.
    """

    template_fields: Sequence[str] = ("words", "of")
    ui_color = "#d9e8f5"

    def __init__(
        self,
        *,
        words: Sequence[str],
        step: str | None = None,
        of: Any = None,
        patience: float = PATIENCE_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.step, self.of = words, step, of
        self.patience = patience

    def execute(self, context: Any) -> Driver:
        """Submit the verb, or find the driver that has it; leave a long wait to the triggerer."""
        store, series = context["task_state_store"], context["ti"].max_tries
        driver = self._known(store.get("driver"), series)
        state = state_of(driver, self.step) if driver else None
        if driver is None or (state in ENDED and state != FINISHED):
            driver, state = self._submitted(context), "SUBMITTED"
        self.log.info("%s is %s", driver["driver_id"], state)
        store.set("driver", {**driver, "series": series})
        if state in (FINISHED, REACHED):
            return driver
        state = self._soon(driver)
        if state not in OVER:
            self.defer(
                trigger=DriverTrigger(driver, self.step),
                method_name="ended",
                kwargs={"driver": driver},
                timeout=self.execution_timeout,
            )
        return self.ended(context, state, driver)

    def _soon(self, driver: Driver) -> str:
        """Return a driver's state when it is over, or when patience is."""
        deadline = time.monotonic() + self.patience
        state = "RUNNING"
        while state not in OVER and time.monotonic() < deadline:
            time.sleep(min(POLL_SECONDS, deadline - time.monotonic()))
            try:
                state = state_of(driver, self.step)
            except OSError:
                return "SILENT"  # The triggerer waits for a master that is being restarted.
        return state

    def ended(self, context: Any, event: str, driver: Driver) -> Driver:
        """Tell the driver's log; fail if it did not end well."""
        if event == REACHED:
            return driver
        log = lakehouse(["drivers", "log", driver["driver_id"]]) if event != UNKNOWN else ""
        self.log.info("%s: %s\n%s", driver["driver_id"], event, log)
        if event != FINISHED:
            failed = VerbRefusedError if exit_code_of(driver) in REFUSALS else VerbFailedError
            raise failed(
                f"lakehouse {' '.join(self.said)}: {driver['driver_id']} is {event}: "
                f"{last_line(log)}"
            )
        return driver

    def _known(self, last: Mapping[str, Any] | None, series: int) -> Driver | None:
        """Return the driver that does what is wanted, or has done it, if one was submitted.

        Clearing a task lets it try more often. So a driver of the same number of tries is an
        earlier try's, and one of another number belongs to what was cleared.
        """
        if last is not None and last["series"] == series:
            return {name: last[name] for name in ("driver_id", "page")}
        if self.of and (last is None or last["driver_id"] != self.of["driver_id"]):
            return dict(self.of)
        return None

    def _submitted(self, context: Any) -> Driver:
        words = ["drivers", "submit", "--json", "--", *self.said]
        driver: Driver = json.loads(lakehouse(words, **parent_of(context["ti"])))
        self.log.info("submitted %s: lakehouse %s", driver["driver_id"], " ".join(self.said))
        return driver

    @property
    def said(self) -> list[str]:
        """The words, as they are when what was left open is known."""
        return _flat(self.words)


class LakehouseVerb(BaseOperator):
    """A verb that is done within seconds, in the worker.

    Args:
        words: The verb and its options, templated.
    """

    template_fields: Sequence[str] = ("words",)
    ui_color = "#eef3e2"

    def __init__(self, *, words: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words

    def execute(self, context: Any) -> str:
        """Run the verb; return what it prints."""
        words = _flat(self.words)
        said = lakehouse(words)
        self.log.info("lakehouse %s\n%s", " ".join(words), said)
        return said.strip()


class VerbTrigger(BaseTrigger):
    """Fires when a verb that waits for something has ended."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.words = list(words)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how to make this trigger again in the triggerer."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"words": self.words}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Run the verb; a trigger that is taken down takes it along."""
        pipe = asyncio.subprocess.PIPE
        verb = await asyncio.create_subprocess_exec(
            "lakehouse", *self.words, stdout=pipe, stderr=pipe
        )
        try:
            said, complaint = await verb.communicate()
        finally:
            if verb.returncode is None:
                verb.kill()
        text = (complaint if verb.returncode else said).decode(errors="replace")
        yield TriggerEvent({"code": verb.returncode, "said": text})


class LakehouseWait(LakehouseVerb):
    """A verb that waits for the platform, in the triggerer; it has a deadline of its own."""

    def execute(self, context: Any) -> Any:
        """Leave the wait to the triggerer; never return."""
        self.defer(trigger=VerbTrigger(_flat(self.words)), method_name="ended")

    def ended(self, context: Any, event: Mapping[str, Any]) -> str:
        """Tell what the verb said; fail with that if it failed."""
        if event["code"]:
            raise VerbFailedError(
                f"lakehouse {' '.join(_flat(self.words))}: {last_line(event['said'])}"
            )
        return str(event["said"]).strip()
