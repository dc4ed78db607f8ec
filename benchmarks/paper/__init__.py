"""What the report and the poster are built from: numbers, tables and figures, made of the result file."""
