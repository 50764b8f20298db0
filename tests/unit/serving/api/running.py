"""The API on a port of this machine, in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep

import uvicorn
from fastapi import FastAPI


@contextmanager
def running(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application and yield its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    ends = monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert monotonic() < ends, "the server did not start in time"
        sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
