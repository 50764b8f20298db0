"""Positions: what a client holds of an instrument by average cost. Pure, run by both layers.

**The definition.** The fills of a position that count are taken in the order of (event time, fill
id). Two values are carried from fill to fill: the signed quantity, and the basis, which is what
the open quantity cost and never negative.

- A fill on the side of the position, or on none, adds its quantity, and its notional to the basis.
- A fill on the other side that is no larger than the position takes from the quantity. The average
  cost, ``basis / quantity`` rounded half up to the 8 places that prices have, stays as it was: the
  basis becomes average cost times the quantity that is left, which is exact.
- A larger one closes the position and opens one on its own side with what is left of the fill: the
  basis becomes that quantity times the fill's price.

``cost_basis`` is the basis with the sign of the quantity: what a long position cost, less than
nothing for what a short one brought in. ``average_cost`` is the basis over the quantity, rounded
half up to 8 places. ``realised_pnl`` is what all sales brought, less what all purchases cost, plus
the cost basis: each closing's proceeds less the cost that it released, added up. There is no
rounding but that of the average cost, so cash, realised profit and cost basis agree to the last
digit whatever the order and number of fills.

A late fill takes its place in the order, and everything after it is another. So a position is
always folded whole, from all of its fills.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.transforms.fills import BUY, SELL, UNMATCHED, counts

POSITION_KEY = ("customer_id", "venue", "symbol")

# The state of the fold. Spark cuts places from a result that could need more than 38 digits, so
# the types leave room: of a sum one digit, of a product those of both factors.
_QUANTITY, _BASIS = "decimal(27,8)", "decimal(37,16)"
_PRICE = "decimal(18,8)"
_MONEY, _VOLUME = "decimal(38,16)", "decimal(38,8)"


def positions(fills: DataFrame) -> DataFrame:
    """Fold the fills of each position; the definition is that of this module.

    Busts of fills that were not reported belong to no position yet. A position whose fills were
    all busted keeps a row with fill_count 0 (a tombstone), so that an older row of the other layer
    cannot come back.

    Args:
        fills: Resolved fills (`lakehouse.transforms.fills.resolve`), one row per fill: of each
            position all of them, or the result is another position.

    Returns:
        Grain: (customer_id, venue, symbol). ``quantity``, ``bought_quantity`` and
        ``sold_quantity`` in base units, ``average_cost`` in quote currency per base unit, other
        amounts in quote currency; ``last_offset`` the highest log position of any event about a
        reported fill of the position, duplicates and busts included.
    """
    live, side = counts(F.col("state")), F.col("side")

    def total(column: str, of: Column, type_: str) -> Column:
        return F.coalesce(F.sum(F.when(live & of, F.col(column))), F.lit(0)).cast(type_)

    size = F.when(side == BUY, F.col("quantity")).otherwise(-F.col("quantity")).cast(_PRICE)
    fill = F.struct("event_time", "fill_id", size.alias("size"), "price")
    folded = (
        fills.where(F.col("state") != UNMATCHED)
        .groupBy(*POSITION_KEY)
        .agg(
            _folded(F.array_sort(F.collect_list(F.when(live, fill)))).alias("open"),
            total("fee", F.lit(True), _VOLUME).alias("fees"),
            F.count_if(live).alias("fill_count"),
            total("quantity", side == BUY, _VOLUME).alias("bought_quantity"),
            total("notional", side == BUY, _MONEY).alias("bought_notional"),
            total("quantity", side == SELL, _VOLUME).alias("sold_quantity"),
            total("notional", side == SELL, _MONEY).alias("sold_notional"),
            F.min(F.when(live, F.col("event_time"))).alias("first_fill_at"),
            F.max(F.when(live, F.col("event_time"))).alias("last_fill_at"),
            F.max("log_partition").alias("log_partition"),
            F.max("last_offset").alias("last_offset"),
        )
    )
    held, basis = F.col("open.quantity"), F.col("open.basis")
    signed = F.when(held < 0, -basis).otherwise(basis).cast(_BASIS)
    sales = (F.col("sold_notional").cast(_BASIS) - F.col("bought_notional").cast(_BASIS)).cast(
        _BASIS
    )
    return folded.withColumns(
        {
            "quantity": held.cast(_VOLUME),
            "average_cost": F.when(held != 0, _average(basis, F.abs(held))),
            "cost_basis": signed.cast(_MONEY),
            "realised_pnl": (sales + signed).cast(_MONEY),
        }
    ).drop("open")


def _folded(fills: Column) -> Column:
    """Carry quantity and basis from fill to fill."""
    flat = F.struct(
        F.lit(0).cast(_QUANTITY).alias("quantity"), F.lit(0).cast(_BASIS).alias("basis")
    )
    return F.aggregate(fills, flat, _after)


def _after(position: Column, fill: Column) -> Column:
    """Return quantity and basis after a fill."""
    held, basis = position["quantity"], position["basis"]
    size, price = fill["size"], fill["price"]
    left = (held + size).cast(_QUANTITY)
    grows = ((held >= 0) & (size > 0)) | ((held <= 0) & (size < 0))
    flips = ((held > 0) & (left < 0)) | ((held < 0) & (left > 0))
    # What a flip opens is a part of its fill, so it fits the fill's type; elsewhere it may not.
    opened = F.abs(left).try_cast(_PRICE)
    return F.struct(
        left.alias("quantity"),
        F.when(grows, (basis + F.abs(size) * price).cast(_BASIS))
        .when(flips, (opened * price).cast(_BASIS))
        .otherwise(_worth(F.abs(left), _average(basis, F.abs(held))))
        .alias("basis"),
    )


def _average(basis: Column, quantity: Column) -> Column:
    """Divide; decimal(38,16) by decimal(38,8) is decimal(38,8) in Spark: one rounding, half up."""
    return (basis.cast(_MONEY) / quantity.cast(_VOLUME)).cast(_PRICE)


def _worth(quantity: Column, price: Column) -> Column:
    """Multiply without losing a digit: the product of the whole would need more than 38 of them."""
    whole = F.floor(quantity)
    of_whole = (whole.cast("decimal(19,0)") * price).cast(_BASIS)
    return (of_whole + (quantity - whole).cast("decimal(8,8)") * price).cast(_BASIS)
