"""The core under sanitizers."""
