"""How a table is written, by the profile that its contract names: Iceberg's table properties."""

BASE_PROPERTIES = {
    # Version 2 is the newest that Spark, Trino and PyIceberg all write.
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # How long a snapshot can be read: a week of hourly publications to look back at.
    "history.expire.max-snapshot-age-ms": str(7 * 24 * 60 * 60 * 1000),
}
# A table that commits every second must bound its own history, or planning a scan and writing
# the metadata file grow with every commit. Sixty versions are about a minute of commits: longer
# than any reader holds a metadata file that it has just looked up.
STREAMING_PROPERTIES = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "60",
    "commit.manifest-merge.enabled": "true",
    # A reader opens every manifest; ten are read in milliseconds, Iceberg's hundred are not.
    "commit.manifest.min-count-to-merge": "10",
    # Others commit to the table all the time: an append waits for its turn, it does not fail.
    "commit.retry.num-retries": "20",
    # Each snapshot that is kept costs every commit about 0.1 ms of CPU: at two commits a second,
    # five minutes of history are a tenth of a core.
    "history.expire.max-snapshot-age-ms": str(5 * 60 * 1000),
}
# Pruning deletes row versions that no append adds to, so appends meanwhile are no conflict.
SPEED_TWIN_PROPERTIES = {
    "write.merge.isolation-level": "snapshot",
    "write.delete.isolation-level": "snapshot",
}
PROFILES = {"batch": BASE_PROPERTIES, "streaming": BASE_PROPERTIES | STREAMING_PROPERTIES}
