"""The table, one area a file: each defines ROWS."""
