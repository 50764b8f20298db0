"""Commands: changes that clients ask for, kept in a database, sent to the log and followed up."""
