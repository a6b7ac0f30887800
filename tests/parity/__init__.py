"""toolkit beside torch, call by call."""
