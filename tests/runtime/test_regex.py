"""RE2's regular expressions: what matches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.errors import InvalidArgumentError
from toolkit.runtime import _core
from toolkit.runtime.values import to_native

# Pattern, strings that match as a whole, strings that do not. Checked against RE2's syntax page
# and, by hand, against onnxruntime, which uses RE2.
MATCHES = [
    (r"a|b", ["a", "b"], ["ab"]),
    (r"(?i)ab|cd", ["AB", "CD", "cd"], ["x"]),
    (r"a(?i)b|c", ["aB", "C", "ab"], ["AB"]),
    (r"((a)|b(?i)c|d)e", ["ae", "bCe", "De"], ["DE"]),
    (r"(?i:a)b", ["Ab"], ["AB"]),
    (r"(?U)a+", ["aaa"], [""]),
    (r"(?s).", ["\n"], []),
    (r".", ["a", "é"], ["\n", ""]),
    (r"[[:alpha:]]+", ["abc"], ["a1", "é", ""]),
    (r"[[:^alpha:]]", ["1", "é"], ["a"]),
    (r"\d+", ["123"], ["١"]),
    (r"\w+", ["a_1"], ["é"]),
    (r"\s\S", [" a"], ["\va"]),
    (r"\pL+", ["aé"], ["1"]),
    (r"[^\p{Lu}]x", ["ax"], ["Ax"]),
    (r"\Qa.b\E", ["a.b"], ["axb"]),
    (r"x{,2}", ["x{,2}"], ["xx"]),
    (r"a{2,3}", ["aa", "aaa"], ["a"]),
    (r"a$", ["a"], ["a\n"]),
    (r"^a\z", ["a"], ["b"]),
    (r"\x{41}\x42\103", ["ABC"], ["abc"]),
    (r"[a-c\]\-]+", ["a]-"], ["d"]),
    (r"[]a]+", ["]a"], ["b"]),
    (r"[\w&~|-]+", ["a&~|-"], [" "]),
    (r"(?P<n>a)(?<m>b)", ["ab"], ["a"]),
    (r"", [""], ["a"]),
    (r"(|a)+", ["aa", ""], ["b"]),
    (r"a# b", ["a# b"], ["a"]),
]
REFUSED = [r"(a)\1", r"(?=a)", r"(?<=a)b", r"(?<!a)b", r"a++", r"(?>a)", r"(a", r"a)", r"a{1001}",
           r"[a", r"*a", r"a**", r"\p{Greek}", r"\C", r"(?P=n)", r"(?#c)", r"\8", "\\", r"[b-a]",
           r"(?(1)a|b)", r"\p"]  # fmt: skip


def full_match(pattern: str, texts: list[str]) -> list[bool]:
    op = _core.Op("", "RegexFullMatch", {"pattern": pattern})
    (y,) = op.run([to_native(np.array(texts, object))], 1)
    return y.numpy().tolist()


def onnxruntime_full_match(pattern: str, texts: list[str]) -> list[bool]:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    node = helper.make_node("RegexFullMatch", ["x"], ["y"], pattern=pattern)
    x = helper.make_tensor_value_info("x", TensorProto.STRING, [None])
    y = helper.make_tensor_value_info("y", TensorProto.BOOL, [None])
    graph = helper.make_graph([node], "g", [x], [y])
    opsets = [helper.make_opsetid("", 20)]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    return session.run(None, {"x": np.array(texts, object)})[0].tolist()


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES, ids=[m[0] for m in MATCHES])
def test_full_match(pattern, yes, no):
    want = [True] * len(yes) + [False] * len(no)
    assert full_match(pattern, yes + no) == want
    assert onnxruntime_full_match(pattern, yes + no) == want


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_re2_refuses_or_is_not_available_is_refused(pattern):
    with pytest.raises(InvalidArgumentError, match=r"RE2's syntax, got"):
        full_match(pattern, ["a"])


def test_available_to_re2_alone_is_all_that_it_accepts_of_the_refused():
    accepted = []
    for pattern in REFUSED:
        try:
            onnxruntime_full_match(pattern, ["a"])
            accepted.append(pattern)
        except Exception as error:
            assert "pattern" in str(error) or "regex" in str(error).lower(), error
    assert accepted == [r"\p{Greek}", r"\C"]
