"""How many connections there may be at once, and how long one may take nothing."""

import resource
import socket

from serving.api.slow_clients import PART_SECONDS

# More connections than readers of the stream and their pages make.
MOST_CONNECTIONS = 4_000
# Files that are no connection of a client: tables, logs, the broker's and the database's.
OTHER_FILES = 200


def allowed_connections() -> int:
    """Let this process have as many files open as it may, and return how many are for clients.

    Where it may have few, requests beyond them are refused; else none could be taken in any more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(1, most - OTHER_FILES)


def leave_who_takes_nothing(listening: socket.socket, seconds: float = PART_SECONDS) -> None:
    """End connections of a listening socket on which nothing that is sent is taken for so long.

    Without it the system keeps what is yet to be sent to a client that is gone, or that reads no
    more, for a quarter of an hour: also after the API has closed the connection.
    """
    milliseconds = int(seconds * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
