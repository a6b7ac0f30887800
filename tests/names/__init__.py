"""The public names of torch beside ours: docs/coming_from_pytorch.md."""
