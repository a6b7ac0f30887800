"""Exchange with other formats, one format a file; heavy imports stay inside functions."""
