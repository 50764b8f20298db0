-- One row per trade that counts, in the version of the layer that has seen more of the log. A venue
-- may use a trade id again in another minute, so the minute is part of the key. Cancelled trades,
-- and corrections of trades never seen, take part in the merge and are hidden after it.
SELECT *
FROM MERGED('silver.trades', date_trunc('minute', event_time))
WHERE state IN ('ACTIVE', 'CORRECTED')
