"""Utilities by torch.utils' names."""
