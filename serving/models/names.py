"""The models that there are, by the names that the registry and the tables have for them."""

from enum import StrEnum


class Model(StrEnum):
    """A registered model."""

    VOLATILITY = "next_minute_volatility"
    ANOMALIES = "anomalous_trades"
