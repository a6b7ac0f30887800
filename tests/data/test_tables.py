"""csv, parquet and jsonl: columns to numbers, beside pandas; errors name the line."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from toolkit.data import load
from toolkit.errors import InvalidArgumentError

RNG = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "size": RNG.normal(50, 20, 40).round(2),
        "colour": RNG.choice(["red", "green", "blue"], 40),
        "rooms": RNG.integers(1, 6, 40),
        "price": RNG.normal(100, 10, 40).round(3),
        "kind": RNG.choice(["flat", "house"], 40),
    }
)


def everything(data, column=0):
    return np.concatenate([d.tensors[column].numpy() for d in (data.train, data.test)])


def same_rows(got, want):
    """Whether two tables hold the same rows, in any order."""
    got, want = (np.asarray(t, np.float64) for t in (got, want))
    order = [np.lexsort(t.T[::-1]) for t in (got, want)]
    np.testing.assert_allclose(got[order[0]], want[order[1]], rtol=1e-5, atol=1e-5)


@pytest.fixture(params=["csv", "tsv", "parquet", "jsonl"])
def spec(request, tmp_path):
    path = tmp_path / f"t.{request.param}"
    if request.param == "csv":
        FRAME.to_csv(path, index=False)
    elif request.param == "tsv":
        FRAME.to_csv(path, index=False, sep="\t")
        return f"csv:{path}"
    elif request.param == "parquet":
        pytest.importorskip("pyarrow")
        FRAME.to_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(r) for r in FRAME.to_dict("records")) + "\n")
    return f"{request.param}:{path}"


def test_columns(spec):
    data = load(f"{spec}?target=kind&features=size,rooms,colour&categorical=colour&norm=none")
    assert data.meta.task == "classification" and data.meta.classes == ("flat", "house")
    one_hot = pandas.get_dummies(FRAME["colour"])[["blue", "green", "red"]]
    want = np.column_stack([FRAME["size"], FRAME["rooms"], one_hot, FRAME["kind"] == "house"])
    same_rows(np.column_stack([everything(data), everything(data, 1)]), want)


def test_standardised_by_column(spec):
    """By the training part; categories and the target stay as they are."""
    data = load(f"{spec}?target=price&categorical=*")
    assert data.meta.task == "regression" and data.meta.input_shape == (7,)
    train = data.train.tensors[0].numpy()
    np.testing.assert_allclose(train[:, [0, 4]].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train[:, [0, 4]].std(0), 1, atol=1e-5)
    assert set(np.unique(train[:, [1, 2, 3, 5, 6]])) == {0.0, 1.0}
    raw = everything(data)[:, [0, 4]] * data.meta.std[[0, 4]] + data.meta.mean[[0, 4]]
    same_rows(raw, FRAME[["size", "rooms"]])
    same_rows(everything(data, 1), FRAME[["price"]])


def test_options(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1;2;7\n3;;8\n5;6;7\n7;8;8\n9;1;7\n2;2;8\n")
    data = load(f"csv:{path}?sep=;&missing=-1&norm=none&target=0&task=classification")
    assert data.meta.classes == ("1", "2", "3", "5", "7", "9")
    same_rows(everything(data), [[2, 7], [-1, 8], [6, 7], [8, 8], [1, 7], [2, 8]])
    data = load(f"csv:{path}?sep=;&missing=0&target=2&task=regression&features=1&dtype=float64")
    assert data.meta.input_dtype == "float64" and data.meta.target_dtype == "float32"
    data = load(f"csv:{path}?sep=;&missing=0&dtype=int64")
    assert data.meta.input_dtype == "int64" and everything(data).max() == 9


def test_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n" * 6)
    assert len(everything(load(f"csv:{path}"))) == 6
    with pytest.raises(InvalidArgumentError, match=r"at least 5 rows of 2 columns .* 4 rows of 3"):
        path.write_text("a,b,c\n" + "1,2,3\n" * 4)
        load(f"csv:{path}")
    path.write_text("1,2,3\n" * 6)
    assert len(everything(load(f"csv:{path}?header=yes"))) == 5
    path.write_text("x,y,z\n" * 6)
    assert len(everything(load(f"csv:{path}?header=no&categorical=*"))) == 6


def test_validation_file_has_the_columns_of_the_training_file(tmp_path):
    train, val = tmp_path / "train.csv", tmp_path / "val.csv"
    FRAME.to_csv(train, index=False)
    some = FRAME[FRAME["colour"] == "red"].head(4)
    some[["kind", "rooms", "colour", "price", "size"]].to_csv(val, index=False)
    data = load(f"csv:{train}?target=kind&categorical=colour", val=f"csv:{val}?target=kind")
    assert len(data.train) == 40 and len(data.test) == 4
    got = data.test.tensors[0].numpy() * data.meta.std + data.meta.mean
    one_hot = np.tile([0, 0, 1], (4, 1))
    want = np.column_stack([some["size"], one_hot, some["rooms"], some["price"]])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    val.write_text("size,colour,rooms,price,kind\n1,red,2,3,flat\n1,pink,2,3,flat\n")
    with pytest.raises(InvalidArgumentError, match=r"val\.csv', line 3: one of blue, green, red"):
        load(f"csv:{train}?categorical=colour", val=f"csv:{val}")
    val.write_text("size,colour,rooms,price,kind\n1,red,2,3,castle\n")
    with pytest.raises(InvalidArgumentError, match=r"line 2: one of the classes flat, house"):
        load(f"csv:{train}?categorical=colour", val=f"csv:{val}")


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("a,b,c\n1,2,x\n1,2,x\n1,,y\n1,2,y\n1,2,y\n", "", r"line 4: numbers .* 'b', got ''. Gi"),
        ("a,b,c\n1,2,x\n1,q,x\n1,2,y\n1,2,y\n1,2,y\n", "", r"line 3: numbers .*Is it categorical="),
        ("a,b,c\n1,2,x\n1,x\n", "", "line 3: 3 columns are required, got 2"),
        ("a,a,c\n" + "1,2,x\n" * 5, "", "names that differ are required as header, got a, a, c"),
        ("a,b,c\n" + "1,2,x\n" * 5, "target=d", "a column among a, b, c is required as target"),
        ("a,b,c\n" + "1,2,x\n" * 5, "features=z*", "columns among a, b are required as features"),
        ("a,b,c\n" + "1,nan,x\n" * 5, "", "line 2: numbers are required in column 'b', got 'nan'"),
        ("a,b\n" + "1,x\n" * 5, "task=regression", "line 2: numbers are required in column 'b'"),
    ],
)  # fmt: skip
def test_bad_csv(tmp_path, text, options, match):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=match) as caught:
        load(f"csv:{path}?{options}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"a": 1, "b": 2}\n{"a": 1', "line 2: a JSON object is required"),
        ('{"a": 1, "b": 2}\n\n[1, 2]', "line 3: a JSON object is required, got list"),
        ("", "at least one JSON object"),
        ('{"a": [1], "b": 2}', "line 1: numbers or texts .* as 'a'. Lists of tokens are read with"),
    ],
)
def test_bad_jsonl(tmp_path, text, match):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=match):
        load(f"jsonl:{path}")


def test_bad_parquet(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidArgumentError, match="a parquet file is required"):
        load(f"parquet:{path}")
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidArgumentError, match=r"pyarrow is required. .*\[parquet\]"):
        load(f"parquet:{path}")


def test_tokens_in_windows(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [RNG.integers(0, 50, n).tolist() for n in RNG.integers(1, 30, 40)]
    path.write_text("".join(json.dumps({"ids": row}) + "\n" for row in rows))
    data = load(f"jsonl:{path}?tokens=ids&block=16&eos=50&vocab=51")
    assert data.meta.task == "language" and data.meta.num_classes == 51
    stream = np.concatenate([[*row, 50] for row in rows])
    split = len(stream) - len(stream) // 10
    np.testing.assert_array_equal(data.train.ids, stream[:split])
    np.testing.assert_array_equal(data.test.ids, stream[split:])
    with pytest.raises(InvalidArgumentError, match=r"line \d+: tokens below 20 are required, got"):
        load(f"jsonl:{path}?tokens=ids&vocab=20")
    path.write_text('{"ids": [1, 2]}\n{"ids": [1, -2]}\n')
    with pytest.raises(InvalidArgumentError, match="line 2: a list of token ids is required as"):
        load(f"jsonl:{path}?tokens=ids")


def test_tokens_with_a_class(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"t": list(range(1, 2 + i % 7)), "y": "even" if i % 2 else "odd"} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = load(f"jsonl:{path}?tokens=t&target=y&block=5&pad=9")
    assert data.meta.classes == ("even", "odd") and data.meta.input_dtype == "int64"
    got = np.column_stack([everything(data), everything(data, 1)])
    want = [[*(r["t"] + [9] * 5)[:5], int(r["y"] == "odd")] for r in rows]
    same_rows(got, want)
    path.write_text('{"t": [1], "y": 1}\n{"t": [1]}')
    with pytest.raises(InvalidArgumentError, match="line 2: a class is required as 'y'"):
        load(f"jsonl:{path}?tokens=t&target=y")


def test_text_for_validation(tmp_path):
    (tmp_path / "a.txt").write_text("abcab\ncabc" * 20)
    (tmp_path / "b.txt").write_text("cba\n" * 10)
    data = load(f"text:{tmp_path}/a.txt?block=8", val=f"text:{tmp_path}/b.txt?block=8")
    assert len(data.train.ids) == 200
    assert "".join(data.meta.classes[i] for i in data.test.ids) == "cba\n" * 10
    (tmp_path / "b.txt").write_text("cba\nx" * 10)
    with pytest.raises(InvalidArgumentError, match=r"line 2: characters of the training .* 'x'"):
        load(f"text:{tmp_path}/a.txt?block=8", val=f"text:{tmp_path}/b.txt?block=8")
