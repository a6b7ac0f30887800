"""Programs as PyTorch's users write them, run with torch and here by `test_whole_programs.py`.

Each has `main()`, which trains and gives `(model, inputs, numbers)`: what is exported, an example
to run it with, and the numbers by name that the two runs are compared by.
"""
