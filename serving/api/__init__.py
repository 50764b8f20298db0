"""The REST API: merged, reconciled and live rows over HTTP."""
