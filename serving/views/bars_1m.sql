-- One row per venue, symbol and minute with a trade: the one-minute bar of the layer that has seen
-- more of the log. A bar whose trades were all cancelled is a tombstone (trade_count 0). It takes
-- part in the merge, so that an older row of the other layer cannot come back, and is hidden after.
SELECT *
FROM MERGED('gold.bars_1m')
WHERE trade_count > 0
