"""What a model costs: time beside other runtimes, profiles by node."""
