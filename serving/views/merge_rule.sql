-- The merge rule, once. MERGED('table') in a view becomes this query over a batch table and its
-- speed twin. Of the rows of one key the greater last_offset has seen more of the log and wins; on
-- a tie the batch row. The speed twin is a log of row versions: the greatest last_offset per key
-- counts, once, however often that version was written.
--
-- Why this shape: the batch table is large and the speed twin small. Each batch row is looked up in
-- the twin's few keys, and only the keys in the twin are looked up in the batch table, so nothing
-- sorts or groups the batch table. Filters on key columns reach all four scans. It is no CTE,
-- because an engine that materialises one no longer knows which columns the query needs.
SELECT ${batch_columns}, 'RECONCILED' AS status
FROM ${batch_table} AS batch
LEFT JOIN (
    SELECT ${key_columns}, max(last_offset) AS last_offset
    FROM ${speed_table}
    GROUP BY ${key}
) AS seen ON ${batch_is_seen}
WHERE seen.last_offset IS NULL OR seen.last_offset <= batch.last_offset
UNION ALL
SELECT ${newest_columns}, 'PROVISIONAL' AS status
FROM (
    SELECT ${columns}, row_number() OVER (PARTITION BY ${key} ORDER BY last_offset DESC) AS version
    FROM ${speed_table}
) AS newest
LEFT JOIN ${batch_table} AS batch ON ${newest_is_in_batch}
WHERE newest.version = 1 AND (batch.last_offset IS NULL OR batch.last_offset < newest.last_offset)
