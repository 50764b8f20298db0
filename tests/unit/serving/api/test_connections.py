"""What the system is told of connections: how many, and for how long nothing is taken."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from serving.api.connections import (
    MOST_CONNECTIONS,
    OTHER_FILES,
    allowed_connections,
    leave_who_takes_nothing,
)

pytestmark = pytest.mark.serving


@pytest.fixture
def few_files() -> Iterator[int]:
    """Few more files than are open here; the most that there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_many_files_may_be_open_as_connections_are_let_in(few_files: int) -> None:
    connections = allowed_connections()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert connections + OTHER_FILES == soft
    assert connections <= MOST_CONNECTIONS
    assert soft in (few_files, MOST_CONNECTIONS + OTHER_FILES)


def test_who_takes_nothing_is_left_by_the_system_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        leave_who_takes_nothing(listening, seconds=0.2)
        with socket.create_connection(listening.getsockname()):
            taken, _ = listening.accept()
            with taken:
                taken.setblocking(False)
                with suppress(BlockingIOError):
                    while taken.send(b"x" * 65_536):
                        pass
                over = select.poll()
                over.register(taken, select.POLLHUP)
                assert over.poll(20_000), "the system waits on"
                with pytest.raises(TimeoutError):
                    taken.send(b"x")
