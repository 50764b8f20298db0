"""An exchange's stream server for a live feed to follow: it says what a real one has said."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from threading import Event, Thread

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

RECORDING = Path(__file__).parents[2] / "demo" / "data" / "binance_spot_btcusdt.trades.gz"
FRAMES_PER_SECOND = 20


@contextmanager
def exchange(recording: Path = RECORDING) -> Iterator[str]:
    """Serve the frames of a recording to whoever connects, over and over; yield the address."""
    with gzip.open(recording, "rt") as lines:
        frames = [line.partition(" ")[2].rstrip() for line in lines]
    closing = Event()

    def stream(connection: ServerConnection) -> None:
        for frame in cycle(frames):
            if closing.wait(1 / FRAMES_PER_SECOND):
                return
            try:
                connection.send(frame)
            except ConnectionClosed:
                return

    with serve(stream, "127.0.0.1", 0) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            closing.set()
            server.shutdown()
            serving.join()
