"""Files that somebody drops: read, judged by their contract, loaded into bronze once."""
