-- One row per customer, venue and symbol with a fill that counts, marked to the close of the latest
-- merged bar. The mark is another key's value, so it is joined here and stored nowhere; it is null
-- while no bar is there. The sign of a short position's market value is that of its quantity. A
-- value that no column could hold is null, too: who asks for other positions is to have them.
SELECT
    marked.*,
    marked.market_value - marked.cost_basis AS unrealised_pnl
FROM (
    SELECT
        merged.*,
        marks.mark_price,
        marks.marked_at,
        CASE
            WHEN abs(CAST(merged.quantity AS double) * CAST(marks.mark_price AS double)) < 1e21
                THEN CAST(merged.quantity * marks.mark_price AS decimal(38, 16))
        END AS market_value
    FROM MERGED('gold.positions')
    LEFT JOIN (
        SELECT
            bars.venue,
            bars.symbol,
            max_by(bars.close, bars.window_start) AS mark_price,
            max(bars.window_start) AS marked_at
        FROM lake.serving.bars_1m AS bars
        GROUP BY 1, 2
    ) AS marks ON marks.venue = merged.venue AND marks.symbol = merged.symbol
    WHERE merged.fill_count > 0
) AS marked
