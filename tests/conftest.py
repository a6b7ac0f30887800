"""Fixtures that every test may use."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.known_failures import KNOWN

settings.register_profile(
    "toolkit",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("toolkit")


def pytest_collection_modifyitems(items) -> None:
    """Tests that are known to fail are expected to, each with its reason."""
    for item in items:
        reason = KNOWN.get(item.nodeid.removeprefix("tests/"))
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, run="hang" not in reason))


@pytest.fixture
def rng(request) -> np.random.Generator:
    """A generator seeded by the test's own name: the same numbers alone or in parallel."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def _isolate(tmp_path_factory, monkeypatch):
    """Puts back what a test may change for others: working directory, environment, threads."""
    from toolkit.runtime import _core

    cwd, environment, threads = os.getcwd(), dict(os.environ), _core.get_num_threads()
    yield
    os.chdir(cwd)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    if _core.get_num_threads() != threads:
        _core.set_num_threads(threads)
