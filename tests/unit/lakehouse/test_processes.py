"""Background processes: started detached, found again, stopped with all that they started."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from lakehouse.processes import ProcessError, Supervisor, port_is_free

DEADLINE_SECONDS = 20.0
SLEEP = "import time; time.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "home")
    yield supervisor
    for record in supervisor.records():
        supervisor.stop(record.name, grace_seconds=0.1)


def test_a_process_is_recorded_and_stopped(supervisor: Supervisor) -> None:
    record = supervisor.start("sleeper", python(SLEEP), port=1234)
    assert record.alive
    assert Supervisor(supervisor.run.parent).find("sleeper") == record, "another command sees it"
    assert supervisor.stop("sleeper")
    assert not psutil.pid_exists(record.pid)
    assert supervisor.records() == []
    assert not supervisor.stop("sleeper"), "stopping again is no error"


def test_output_and_extra_variables_reach_the_log(supervisor: Supervisor) -> None:
    code = "import os, sys; print(os.environ['MARK']); print('err', file=sys.stderr)"
    supervisor.start("talker", python(code), environ={"MARK": "out"})
    wait(lambda: supervisor.log("talker").read_text().split() == ["out", "err"])


def test_a_process_leads_a_session_of_its_own(supervisor: Supervisor) -> None:
    record = supervisor.start("leader", python(SLEEP))
    assert os.getsid(record.pid) == record.pid != os.getsid(0)


def test_starting_twice_is_refused(supervisor: Supervisor) -> None:
    supervisor.start("one", python(SLEEP))
    with pytest.raises(ProcessError, match="one runs already"):
        supervisor.start("one", python(SLEEP))


def test_a_command_that_does_not_exist_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(ProcessError, match=r"ghost cannot be started.*no-such-command"):
        supervisor.start("ghost", ["no-such-command"])
    assert supervisor.find("ghost") is None


def test_waiting_ends_early_with_the_log_when_the_process_dies(supervisor: Supervisor) -> None:
    record = supervisor.start("dying", python("raise SystemExit('the disk is full')"))
    begun = time.monotonic()
    with pytest.raises(ProcessError, match=r"dying died while starting(.|\n)*the disk is full"):
        supervisor.wait_until(record, lambda: False, deadline_seconds=600)
    assert time.monotonic() - begun < DEADLINE_SECONDS


def test_waiting_has_a_deadline(supervisor: Supervisor) -> None:
    record = supervisor.start("slow", python(SLEEP))
    with pytest.raises(ProcessError, match="slow was not ready in time"):
        supervisor.wait_until(record, lambda: False, deadline_seconds=0.2)


def test_a_process_that_ignores_the_request_is_killed(supervisor: Supervisor) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"print('deaf', flush=True); {SLEEP}"
    )
    record = supervisor.start("deaf", python(code))
    wait(lambda: "deaf" in supervisor.log("deaf").read_text())
    assert supervisor.stop("deaf", grace_seconds=0.2)
    assert not record.members()


def test_a_clean_stop_is_waited_for(supervisor: Supervisor) -> None:
    code = (
        "import signal, sys, time\n"
        "def finish(*_): print('finished', flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, finish); print('ready', flush=True)\n"
        "while True: time.sleep(0.01)"
    )
    supervisor.start("tidy", python(code))
    wait(lambda: "ready" in supervisor.log("tidy").read_text())
    supervisor.stop("tidy")
    assert supervisor.log("tidy").read_text().split() == ["ready", "finished"]


def test_children_go_too_even_when_their_leader_was_killed(supervisor: Supervisor) -> None:
    code = f"import subprocess; print(subprocess.Popen({python(SLEEP)}).pid, flush=True); {SLEEP}"
    record = supervisor.start("parent", python(code))
    wait(lambda: supervisor.log("parent").read_text().endswith("\n"))
    child = int(supervisor.log("parent").read_text())
    os.kill(record.pid, signal.SIGKILL)
    wait(lambda: not record.alive)
    assert [member.pid for member in record.members()] == [child]
    assert supervisor.stop("parent"), "an orphan counts as running"
    wait(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def test_a_stranger_with_the_same_id_is_left_alone(supervisor: Supervisor) -> None:
    stranger = supervisor.start("stranger", python(SLEEP))
    stale = replace(stranger, name="stale", started_at=stranger.started_at - 3600)
    (supervisor.run / "stale.json").write_text(json.dumps(asdict(stale)))
    assert not stale.alive
    assert not supervisor.stop("stale")
    assert stranger.alive
    assert supervisor.find("stale") is None


def test_a_broken_record_is_named(supervisor: Supervisor) -> None:
    supervisor.run.mkdir(parents=True)
    broken = supervisor.run / "broken.json"
    broken.write_text("{")
    with pytest.raises(ProcessError, match=r"broken\.json is no process record.*delete it"):
        supervisor.find("broken")
    broken.unlink()


def test_only_one_command_at_a_time(supervisor: Supervisor) -> None:
    other = Supervisor(supervisor.run.parent)
    with supervisor.exclusive(), pytest.raises(ProcessError, match="another command"):
        other.exclusive().__enter__()
    with other.exclusive():
        pass


def test_interrupted_while_starting_the_process_is_on_record(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = psutil.Process.create_time

    def interrupted(process: psutil.Process) -> float:
        monkeypatch.setattr(psutil.Process, "create_time", real)
        signal.raise_signal(signal.SIGINT)  # the moment between the start and the record
        return real(process)

    monkeypatch.setattr(psutil.Process, "create_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        supervisor.start("early", python(SLEEP))
    record = supervisor.find("early")
    assert record is not None
    assert record.alive


def test_a_port_is_remembered_while_it_is_free(supervisor: Supervisor) -> None:
    port = supervisor.port("kafka")
    assert supervisor.port("kafka") == port
    assert supervisor.port("other") != port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        assert not port_is_free(port)
        moved = supervisor.port("kafka")
        assert moved != port
    assert supervisor.port("kafka") == moved
