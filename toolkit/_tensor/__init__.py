"""The parts of `toolkit.tensor`; import that module instead."""
