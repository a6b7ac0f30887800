"""Every public name of torch is ours, or the table says why not; the page is what it says."""

from __future__ import annotations

from tests.names import onnxruntime_page, page, table
from tests.names.namespaces import NAMESPACES, find

HINT = "run `python -m tests.names`, and give what it adds to planned.txt a reason if there is one"


def test_every_missing_name_has_a_reason():
    assert not table.unexplained(), f"{HINT}: {table.unexplained()}"


def test_no_reason_is_out_of_date():
    assert not table.stale(), f"{HINT}: {table.stale()}"


def test_the_page_is_what_the_table_says():
    assert page.PAGE.read_text() == page.render(), HINT


def test_onnxruntimes_names_are_what_the_page_says():
    assert onnxruntime_page.PAGE.read_text() == onnxruntime_page.render(), HINT


def test_what_is_counted():
    """A namespace that is empty here or there would compare nothing."""
    for space in NAMESPACES:
        assert len(space.theirs()) >= 3, space
        assert find(f"torch.{space.path}".rstrip(".")) is not None
    assert len(NAMESPACES[0].theirs()) > 500
    assert not NAMESPACES[0].has("no_such_name")
    assert sum(ours for _, ours in table.counts().values()) > 700
