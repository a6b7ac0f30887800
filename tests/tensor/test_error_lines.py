"""Errors of eager operations carry the user's line, once, as a note."""

import pickle
import traceback

import pytest
from against import tk

from toolkit import ops
from toolkit.errors import DTypeError, ShapeError, ToolkitError
from toolkit.tracing import Trace

A = tk.zeros(2, 3)


def backward():
    y = A.clone().requires_grad_().exp().sum()
    y.backward()
    y.backward()  # The second time.


def kernel():
    return A @ A  # A kernel's error.


def hook():
    y = A.clone().requires_grad_().exp()
    y.register_hook(lambda g: g @ g)  # In a hook.
    y.sum().backward()


CASES = [
    (kernel, "return A @ A  # A kernel's error."),
    (backward, "y.backward()  # The second time."),
    (hook, "y.register_hook(lambda g: g @ g)  # In a hook."),
    (lambda: A.reshape(7), "(lambda: A.reshape(7),"),
    (lambda: A + tk.zeros(5), "(lambda: A + tk.zeros(5),"),
    (lambda: A[7], "(lambda: A[7],"),
    (lambda: tk.nn.Linear(4, 2)(A), "(lambda: tk.nn.Linear(4, 2)(A),"),
    (lambda: tk.nn.functional.softmax(A, 5), "(lambda: tk.nn.functional.softmax(A, 5),"),
    (lambda: tk.cat([A, A[:, 1:]]), "(lambda: tk.cat([A, A[:, 1:]]),"),
    (lambda: ops.call("MatMul", [A, A]), '(lambda: ops.call("MatMul", [A, A]),'),
    (lambda: A.sum().backward(), "(lambda: A.sum().backward(),"),
    (lambda: tk.zeros(2).requires_grad_().exp().backward(), "(lambda: tk.zeros(2)"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_note_is_the_line(case):
    run, code = CASES[case]
    with pytest.raises(ToolkitError) as found:
        run()
    (note,) = found.value.__notes__
    assert note.startswith("at test_error_lines.py:")
    assert code in note
    lines = {str(e.lineno) for e in traceback.extract_tb(found.value.__traceback__)}
    assert note.split(":")[1] in lines


def test_a_traced_line_stands_in_the_message_only():
    with Trace() as t, pytest.raises(ShapeError) as found:
        x = t.input("x", tk.float32, ("batch", 3))
        x @ tk.zeros(5, 3)
    assert "test_error_lines.py" in str(found.value)
    assert not hasattr(found.value, "__notes__")


def test_an_error_from_another_process_keeps_its_line():
    error = pickle.loads(pickle.dumps(DTypeError("made here")))
    (note,) = error.__notes__
    assert "DTypeError(" in note


def test_the_command_line_adds_none(tmp_path):
    from toolkit.cli.main import main

    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ToolkitError, match="do not parse") as found:
        main(["info", str(path), "--debug"])
    assert not hasattr(found.value, "__notes__")
