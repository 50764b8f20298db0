"""The embedded profile: one broker, the layers, the watcher of files, the API and its worker."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from urllib.request import urlopen

from lakehouse import broker
from lakehouse.components import READY, Component, Launch, answers
from lakehouse.errors import LakehouseError
from lakehouse.heartbeat import beat_path, last_beat
from lakehouse.kafka import broker_answers, client_settings, ensure_topics
from lakehouse.processes import LOOPBACK, Supervisor
from lakehouse.settings import NotRunningError, Settings

# Our own verbs that run until they are stopped.
LAYERS = ("land", "speed")
LIVE, FILES, API, COMMANDS = "live", "files", "api", "commands"
# Where people look for it; another is taken where it is not free.
API_PORT = 8000
# A Spark driver takes ten seconds to its first micro-batch on an idle laptop; with the rest of the
# stack starting beside it from a cold disk, or with much to catch up with, it takes minutes.
LAYER_DEADLINE_SECONDS = 300.0
# Longer than any sane pause between two commits or micro-batches.
STALLED_SECONDS = 60.0
PROBE_SECONDS = 2.0


class VerbFailedError(LakehouseError):
    """A command of our own that a start depends on has failed."""


def components(settings: Settings, environ: Mapping[str, str]) -> list[Component]:
    """Return what the embedded profile consists of.

    Args:
        settings: The home.
        environ: Variables of the layers' processes, beside those of this one.
    """
    supervisor = Supervisor(settings.home)
    log = Component(
        broker.PROCESS,
        launch=partial(broker.launch, settings, supervisor),
        health=answers(partial(_broker_answers, settings)),
        provision=partial(ensure_topics, settings),
        provides="the topics",
        deadline_seconds=broker.START_DEADLINE_SECONDS,
    )
    if settings.kafka_bootstrap:  # somebody else's; all that is ours in it is the topics
        log = Component(broker.PROCESS, provision=log.provision, provides=log.provides)
    ours = [long_running(settings, name, environ=environ) for name in (*LAYERS, LIVE)]
    watcher = long_running(settings, FILES, "watch", environ=environ)
    worker = long_running(settings, COMMANDS, "run", environ=environ)
    made = tables(settings, after=(broker.PROCESS,))
    return [log, made, *ours, watcher, _api(settings, supervisor, environ), worker]


def _api(settings: Settings, supervisor: Supervisor, environ: Mapping[str, str]) -> Component:
    """Return the REST API; its engines are opened when they are first asked."""

    def launch() -> Launch:
        port = supervisor.port(API, preferred=API_PORT)
        variables = {"LAKEHOUSE_HOME": str(settings.home), **environ}
        return Launch(verb(API, "serve", "--port", str(port)), variables, port)

    return Component(
        API,
        after=("tables",),
        launch=launch,
        health=answers(partial(_api_answers, supervisor)),
    )


def tables(settings: Settings, *, after: tuple[str, ...]) -> Component:
    """Return the task that makes the tables, and gives the topics' schemas to the registry."""
    return Component(
        "tables",
        after=after,
        provision=partial(run_verb, settings, "schemas", "apply"),
        provides="the tables",
    )


def long_running(
    settings: Settings,
    name: str,
    *options: str,
    environ: Mapping[str, str],
    port: int | None = None,
    memory_mib: int = 0,
) -> Component:
    """Return one of our own verbs that runs until it is stopped, and says that it lives.

    Args:
        settings: The home.
        name: The verb, and the name under which it gives signs of life.
        options: What follows it.
        environ: Variables of its process, beside those of this one.
        port: Where it serves its metrics, if it does.
        memory_mib: What it may take.
    """

    def launch() -> Launch:
        beat_path(settings.home, name).unlink(missing_ok=True)
        variables = {"LAKEHOUSE_HOME": str(settings.home), **environ}
        return Launch(verb(name, *options), variables, port)

    return Component(
        name,
        after=("tables",),
        launch=launch,
        health=partial(_health_of_layer, settings, name),
        deadline_seconds=LAYER_DEADLINE_SECONDS,
        memory_mib=memory_mib,
    )


def verb(*words: str) -> list[str]:
    """Return the arguments that run a verb of the command line."""
    return [sys.executable, "-m", "lakehouse", *words]


def run_verb(settings: Settings, *words: str) -> None:
    """Run a verb to its end.

    Raises:
        VerbFailedError: It failed; quotes what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own command line
        verb(*words),
        env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise VerbFailedError(
            f"`lakehouse {' '.join(words)}` failed:\n{done.stdout}{done.stderr}".rstrip()
        )


def _broker_answers(settings: Settings) -> bool:
    try:
        return broker_answers(client_settings(settings))
    except NotRunningError:
        return False


def _api_answers(supervisor: Supervisor) -> bool:
    record = supervisor.find(API)
    if record is None:
        return False
    address = f"http://{LOOPBACK}:{record.port}/health/ready"
    try:
        with urlopen(address, timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def _health_of_layer(settings: Settings, name: str) -> str:
    beat = last_beat(settings.home, name)
    if beat is None:
        return "starting"
    return READY if time.time() - beat < STALLED_SECONDS else "stalled"
