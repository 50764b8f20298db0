"""The graph that runs tell of, walked as whoever reads their events walks it."""

from collections.abc import Mapping, Sequence

# What has a column: namespace and name.
Dataset = tuple[str, str]
Column = tuple[Dataset, str]


def origins(made_of: Mapping[Column, Sequence[Column]], column: Column) -> set[Column]:
    """Return what nobody tells the sources of, of all that a column follows from."""
    sources = made_of.get(column)
    if sources is None:
        dataset, name = column
        whole, _, part = name.partition(".")
        if not part or (dataset, whole) not in made_of:
            return {column}
        # What is inside of a column comes with it.
        sources = [(of, f"{source}.{part}") for of, source in made_of[dataset, whole]]
    return {origin for source in sources for origin in origins(made_of, source)}
