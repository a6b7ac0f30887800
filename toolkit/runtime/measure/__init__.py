"""What a model costs: time beside other runtimes."""
