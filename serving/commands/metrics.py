"""What Prometheus is told of commands; docs/metrics.md has a line on each."""

from datetime import UTC, datetime

from prometheus_client import Counter, Gauge
from sqlalchemy import Connection, func, select

from serving.commands.tables import COMMANDS, OUTBOX, moment

LEADS = Gauge("lakehouse_commands_leads", "1 if this process is the one that works.")
FAILED_ROUNDS = Counter(
    "lakehouse_commands_failed_rounds", "Rounds that failed and are tried again.", ["round"]
)
OLDEST_UNSENT_SECONDS = Gauge(
    "lakehouse_commands_oldest_unsent_seconds",
    "How long the oldest message has waited for the log; 0 if none waits.",
)


def tell_of_outbox(connection: Connection) -> None:
    """Say how long the oldest message waits."""
    waiting = (
        select(func.min(COMMANDS.c.accepted_at))
        .join(OUTBOX, OUTBOX.c.command_id == COMMANDS.c.id)
        .where(OUTBOX.c.sent_at.is_(None))
    )
    since = connection.execute(waiting).scalar()
    waited = 0.0 if since is None else (datetime.now(UTC) - moment(since)).total_seconds()
    OLDEST_UNSENT_SECONDS.set(waited)
