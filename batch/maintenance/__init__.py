"""Upkeep: compaction, retention, expiry and clearing up, beside the layers while they work."""
