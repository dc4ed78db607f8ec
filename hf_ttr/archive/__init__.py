"""Archives: every video of a folder, a bucket or a list becomes one row of a table."""
