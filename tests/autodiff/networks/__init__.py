"""Small networks as people write them, with inputs that draw themselves; see `table.py`."""
