"""Exact division of decimals, rounded half up, in each engine's own arithmetic.

Engines differ in how they divide: DuckDB goes through floats; Trino rounds to the dividend's 16
places first, so that a cast to 8 places rounds a second time. Neither is exact, and both are
avoided here.
"""

from typing import Literal

import sqlglot
from sqlglot import exp

Dialect = Literal["trino", "duckdb"]

# Trino's remainder is exact. What is left without it divides without rounding.
_TRINO = """
CASE WHEN :volume > 0 THEN CAST(
    (:notional - :notional % (:volume * :quantum)) / :volume
    + CASE
        WHEN :notional % (:volume * :quantum)
            >= :volume * :quantum - :notional % (:volume * :quantum)
        THEN :quantum
        ELSE CAST(0 AS decimal(8, 8))
    END
AS decimal(38, 8)) END
"""
# DuckDB's 128-bit integers are exact. The digits of a decimal(38,16) over the digits of a
# decimal(38,8) are the digits of a quotient with 8 places.
_DUCKDB = """
CASE WHEN :volume > 0 THEN CAST(
    CAST(
        :notional_digits // :volume_digits
        + CASE
            WHEN :notional_digits % :volume_digits
                >= :volume_digits - :notional_digits % :volume_digits
            THEN 1
            ELSE 0
        END
    AS decimal(38, 0)) * :quantum
AS decimal(38, 8)) END
"""
_DIGITS = "CAST(replace(CAST(CAST(:value AS decimal(38, :scale)) AS varchar), '.', '') AS hugeint)"
# The smallest step of the result.
_QUANTUM = "CAST('0.00000001' AS decimal(8, 8))"


def divide_half_up(notional: exp.Expr, volume: exp.Expr, *, dialect: Dialect) -> exp.Expr:
    """Return ``notional / volume`` as decimal(38,8), exact before one rounding half up.

    Args:
        notional: A decimal(38,16) that is not negative.
        volume: A decimal(38,8); where it is 0 the quotient is null.
        dialect: The engine that is to compute it.
    """
    values = {
        "notional": notional,
        "volume": volume,
        "quantum": sqlglot.parse_one(_QUANTUM, read=dialect),
    }
    if dialect == "trino":
        return _fill(_TRINO, values, dialect)
    values["notional_digits"] = _digits(notional, 16)
    values["volume_digits"] = _digits(volume, 8)
    return _fill(_DUCKDB, values, dialect)


def _digits(value: exp.Expr, scale: int) -> exp.Expr:
    """Return a decimal's digits without its point as a 128-bit integer."""
    return _fill(_DIGITS.replace(":scale", str(scale)), {"value": value}, "duckdb")


def _fill(template: str, values: dict[str, exp.Expr], dialect: Dialect) -> exp.Expr:
    return sqlglot.parse_one(template, read=dialect).transform(
        lambda node: values[node.name].copy() if isinstance(node, exp.Placeholder) else node
    )
