"""The benchmarks that stand for the whole: inference of the zoo, then training steps.

    python -m benchmarks [--threads 1 2] [--seconds 3] [--only TEXT] [--compile] [--busy]

Prints Markdown tables, which RESULTS.md holds from a quiet machine.
"""

from __future__ import annotations

import argparse

from benchmarks import inference, training


def main() -> None:
    """Runs both with the options that each knows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes")
    parser.add_argument("--busy", action="store_true", help="one thread: the processor's clock")
    options = parser.parse_args()
    shared = ["--threads", *map(str, options.threads), "--seconds", str(options.seconds)]
    shared += ["--only", options.only, *(["--busy"] if options.busy else [])]
    inference.main(shared)
    training.main([*shared, *(["--compile"] if options.compile else [])])


if __name__ == "__main__":
    main()
