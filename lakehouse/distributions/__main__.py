"""``python -m lakehouse.distributions kafka trino``: fetch only these, as images are built.

An image carries what its own server needs. For that the command line and its clients are not
needed, so that a change to them does not fetch and build everything again.
"""

import sys

from lakehouse import artifacts
from lakehouse.distributions import DISTRIBUTIONS, DistributionError, fetch, find
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings


def main(names: list[str]) -> None:
    """Fetch distributions and sets of jars by name, where the cache does not have them.

    Raises:
        DistributionError: A name is neither, or a distribution cannot be had.
        lakehouse.artifacts.ArtifactError: A jar is not what the lock promises.
        lakehouse.ivy.IvyError: A file could not be downloaded.
    """
    settings = Settings()
    servers = {item.name: item for item in DISTRIBUTIONS}
    sets = frozenset.union(*artifacts.JAR_SETS.values())
    if unknown := sorted(set(names) - servers.keys() - sets):
        raise DistributionError(
            f"{', '.join(unknown)}: choose from {', '.join([*servers, *sorted(sets)])}"
        )
    jars = [item for item in artifacts.locked_artifacts() if item.set_name in sets & set(names)]
    artifacts.fetch(settings, [jar for jar in jars if not jar.is_cached(settings)])
    # `kafka` may be both in times to come: then both are fetched.
    wanted = [servers[name] for name in names if name in servers]
    fetch(settings, [item for item in wanted if find(settings, item) is None])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LakehouseError as error:
        sys.exit(f"error: {error}")
