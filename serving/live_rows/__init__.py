"""The live tier's rows in memory, for whoever answers readers."""
