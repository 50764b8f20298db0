-- One row per fill that counts, in the version of the layer that has seen more of the log. Busted
-- fills, and busts of fills never reported, take part in the merge and are hidden after it.
SELECT *
FROM MERGED('silver.fills')
WHERE state = 'ACTIVE'
