"""Are the tests of gradients strong enough? Each rule is broken in small ways, one at a time.

`python -m tests.mutation` (`make mutation`) makes the mutants of `mutants.py` in memory, runs the
checks of `checks.py` that reach them, and lists those that no check sees.
"""
