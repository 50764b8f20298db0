"""What both layers accept of an event, as plain values: whoever makes events can know it before."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

VENUE = "[a-z0-9_]{1,32}"
SYMBOL = "[A-Z0-9._-]{1,32}"
# Electronic markets' tick data does not go back further; an older time is a defect of its source.
EARLIEST_EVENT_TIME = datetime(2000, 1, 1, tzinfo=UTC)
# Clocks of venues and brokers differ by seconds (the shipped sample: 1.25 s); an hour is a fault.
LATEST_AHEAD_OF_LOG = timedelta(hours=1)
# Sums of notionals have 22 digits before the point: bounded trades keep ten million of them from
# overflowing, which would stop a layer for good.
MAX_NOTIONAL = Decimal(10**15)
MAX_CONTRACT_SIZE = Decimal(10**5)
