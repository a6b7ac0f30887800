"""The Python array API standard 2024.12 as tests: numpy's namespace is the oracle."""
