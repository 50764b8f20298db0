"""The servers of the stack: pinned, fetched once, unpacked in the cache, found by name."""

from lakehouse.distributions.cache import (
    absent_distributions,
    cached_home,
    distribution,
    fetch,
    find,
    profile_distributions,
)
from lakehouse.distributions.catalogue import DISTRIBUTIONS, Distribution
from lakehouse.distributions.source import DistributionError

__all__ = [
    "DISTRIBUTIONS",
    "Distribution",
    "DistributionError",
    "absent_distributions",
    "cached_home",
    "distribution",
    "fetch",
    "find",
    "profile_distributions",
]
