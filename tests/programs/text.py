"""A page of text for the language models: sentences of a small grammar, drawn from one seed."""

import random

SUBJECTS = ("the old sailor", "a young gardener", "the quiet teacher", "my neighbour", "the baker")
VERBS = ("watches", "remembers", "paints", "follows", "describes")
OBJECTS = ("the river", "a white bird", "the long road", "an empty house", "the evening sky")
TIMES = ("in the morning", "after the rain", "every summer", "before winter", "at night")


def page(sentences=300, seed=0):
    draw = random.Random(seed)
    parts = (SUBJECTS, VERBS, OBJECTS, TIMES)
    return " ".join(" ".join(draw.choice(part) for part in parts) + " ." for _ in range(sentences))
