"""Files that are complete or not there, and whose they are."""
