-- Coarser bars, once. ROLLED_UP(bucket, 'name') in a view becomes this query: one row per venue,
-- symbol and bucket with a trade, derived from the merged minutes and as exact as they are.
-- RECONCILED only when every minute is; last_offset is the highest of the minutes. Columns that the
-- minutes carry are added up.
SELECT
    bars.venue,
    bars.symbol,
    :bucket AS ${name},
    min_by(bars.open, bars.window_start) AS open,
    max(bars.high) AS high,
    min(bars.low) AS low,
    max_by(bars.close, bars.window_start) AS close,
    CAST(sum(bars.volume) AS decimal(38, 8)) AS volume,
    CAST(sum(bars.notional) AS decimal(38, 16)) AS notional,
    DIVIDE_HALF_UP(sum(bars.notional), sum(bars.volume)) AS vwap,
    CAST(sum(bars.trade_count) AS bigint) AS trade_count,
    min(bars.first_trade_at) AS first_trade_at,
    max(bars.last_trade_at) AS last_trade_at,
    ${carried}
    max(bars.last_offset) AS last_offset,
    CASE WHEN bool_and(bars.status = 'RECONCILED') THEN 'RECONCILED' ELSE 'PROVISIONAL' END AS status
FROM lake.serving.bars_1m AS bars
GROUP BY 1, 2, 3
