"""What holds of samplers and splits for any sizes, by hypothesis."""

from __future__ import annotations

import warnings
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    random_split,
)

SIZES = st.integers(0, 60)
SEEDS = st.integers(0, 2**64 - 1)
often = settings(max_examples=60, deadline=None)


@often
@given(SIZES, st.integers(1, 70), st.booleans())
def test_batches_are_the_indices_in_order(n, size, drop):
    sampler = BatchSampler(range(n), size, drop)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    joined = [i for b in batches for i in b]
    assert joined == list(range(n - n % size if drop else n))
    assert all(len(b) == size for b in batches[:-1]) and all(batches)


@often
@given(st.integers(1, 60), SEEDS, st.integers(0, 5))
def test_a_shuffled_epoch_is_a_permutation_of_its_seed(n, seed, epoch):
    a, b = RandomSampler(range(n), generator=seed), RandomSampler(range(n), generator=seed)
    for sampler in (a, b):
        sampler.set_epoch(epoch)
    first = list(a)
    assert sorted(first) == list(range(n)) and first == list(b)
    again = [list(a), list(b)]
    assert again[0] == again[1] and sorted(again[0]) == list(range(n))


@often
@given(st.integers(1, 20), st.integers(1, 90), SEEDS)
def test_more_draws_than_samples_are_as_even_as_they_can_be(n, count, seed):
    drawn = Counter(RandomSampler(range(n), num_samples=count, generator=seed))
    assert sum(drawn.values()) == count
    assert {drawn[i] for i in range(n)} <= {count // n, -(-count // n)}


@often
@given(st.lists(st.integers(-5, 99), max_size=40), SEEDS)
def test_a_subset_keeps_its_members(indices, seed):
    assert Counter(SubsetRandomSampler(indices, generator=seed)) == Counter(indices)


@often
@given(st.lists(st.floats(0, 9), min_size=1, max_size=20).filter(any), st.booleans(), SEEDS)
def test_weighted_draws_have_weights(weights, replacement, seed):
    possible = [i for i, w in enumerate(weights) if w > 0]
    count = 30 if replacement else len(possible)
    drawn = list(WeightedRandomSampler(weights, count, replacement, generator=seed))
    assert set(drawn) <= set(possible) and len(drawn) == count
    assert replacement or sorted(drawn) == possible


@often
@given(st.integers(1, 60), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 99))
def test_shares_cover_all_and_are_of_one_length(n, replicas, shuffle, drop, seed):
    samplers = [
        DistributedSampler(range(n), replicas, r, shuffle, seed, drop) for r in range(replicas)
    ]
    shares = [list(s) for s in samplers]
    assert {len(s) for s in shares} == {len(samplers[0])}
    seen = Counter(i for share in shares for i in share)
    assert set(seen) <= set(range(n))
    if drop:
        assert len(seen) == n // replicas * replicas and set(seen.values()) <= {1}
    else:
        assert len(seen) == n and max(seen.values()) <= -(-len(shares[0]) * replicas // n)


@often
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), SEEDS)
def test_a_split_by_sizes_is_a_partition(sizes, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # [0, 1] may be fractions, too.
        parts, again = (random_split(range(sum(sizes)), sizes, generator=seed) for _ in range(2))
    assert [len(p) for p in parts] == sizes
    assert sorted(i for p in parts for i in p.indices) == list(range(sum(sizes)))
    assert [p.indices for p in parts] == [p.indices for p in again]


@often
@given(SIZES, st.lists(st.integers(1, 9), min_size=1, max_size=5), SEEDS)
def test_a_split_by_fractions_is_a_partition(n, shares, seed):
    fractions = [s / sum(shares) for s in shares]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of empty parts.
        parts = random_split(range(n), fractions, generator=seed)
    assert sorted(i for p in parts for i in p.indices) == list(range(n))
    assert all(abs(len(p) - n * f) <= 1 for p, f in zip(parts, fractions, strict=True))


@often
@given(st.lists(SIZES, min_size=1, max_size=5), st.data())
def test_concatenation_is_that_of_lists(sizes, data):
    lists = [list(range(100 * i, 100 * i + n)) for i, n in enumerate(sizes)]
    whole = [v for part in lists for v in part]
    joined = ConcatDataset(lists)
    assert [joined[i] for i in range(len(joined))] == whole
    if whole:
        indices = data.draw(st.lists(st.integers(-len(whole), len(whole) - 1), max_size=9))
        assert [joined[i] for i in indices] == [whole[i] for i in indices]
        assert Subset(joined, indices).__getitems__(range(len(indices))) == [
            whole[i] for i in indices
        ]


@often
@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), SEEDS, st.integers(0, 4))
def test_an_epoch_can_be_entered_anywhere(n, size, drop, seed, start):
    loader = DataLoader(range(n), size, shuffle=True, drop_last=drop, generator=seed)
    epoch = [b.tolist() for b in loader.batches(3)]
    assert len(epoch) == len(loader)
    assert [b.tolist() for b in loader.batches(3, start)] == epoch[start:]
