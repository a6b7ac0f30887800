"""Files with training_info that were damaged: a clear ToolkitError or a step, never a crash."""

from __future__ import annotations

import random
import warnings

import onnx
import pytest

import toolkit as tk
from tests.cli.test_cli import call
from tests.train.test_training_info import HALF, LOSS, RANDOM, T, X, add, constant, model, sgd
from toolkit import nn, optim
from toolkit.errors import ToolkitError
from toolkit.graph.io import load_model, save_model
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep, lower_training, strip_training

ROUNDS = 60  # Of each kind of file and damage.


def entries() -> onnx.ModelProto:
    """Two entries with initializations, and a body that captures values."""
    proto = model()
    for key, other, shape, rate in (("W", "B", "3,2", 0.3), ("B", "W", "2", 0.7)):
        text = HALF.format(key=key, other=other, shape=shape, loss=LOSS)
        add(proto, text, [constant("R", rate)], {key: "new"})
    info = proto.training_info[0]
    info.initialization.CopyFrom(onnx.parser.parse_graph(RANDOM))
    info.initialization_binding.add(key="W", value="W0")
    info.algorithm.node.append(
        onnx.parser.parse_graph("""g () => (float[2] q) {
          c = Constant<value = int32 {1}>()  b = Cast<to = 9>(c)
          q = If (b) <then_branch = a () => (float[2] o) { o = Neg(B) },
                      else_branch = e () => (float[2] p) { p = Add(B, B) }>
        }""").node[2]
    )
    info.algorithm.initializer.append(constant("b", True, bool))
    return proto


def own() -> onnx.ModelProto:
    """What a step with a schedule and Dropout writes."""
    tk.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    step = TrainStep(net, nn.MSELoss(), optimizer, scheduler=schedule)
    step(X, T)
    from toolkit.train import onefile

    found: list[onnx.ModelProto] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onefile, "write_training", lambda proto, path: found.append(proto))
        step.save("nowhere")
    return found[0]


FILES = {"by hand": sgd, "entries": entries, "own": own}


def messages(message, depth: int = 0):
    """All messages within one."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE and depth < 8:
            for inner in value if field.is_repeated else [value]:
                yield from messages(inner, depth + 1)


HUGE = (0, -1, 1, 2, 7, 2**31 - 1, 2**40, 2**62, -(2**63))


def damage(proto: onnx.ModelProto, rng: random.Random) -> None:
    """Changes one thing in the training part."""
    roots = [m for info in proto.training_info for m in messages(info)] + list(proto.metadata_props)
    message = rng.choice(roots)
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    names = sorted({t.name for t in proto.graph.initializer} | {"x", "y", "", "t", "loss", "nil"})
    if field.is_repeated:
        kind = rng.randrange(4)
        at = rng.randrange(len(value))
        if kind == 0:
            del value[at]
        elif kind == 1:
            other = value[rng.randrange(len(value))]
            value.extend([other])
        elif kind == 2:
            items = list(value)
            rng.shuffle(items)
            copies = [type(i).FromString(i.SerializeToString()) for i in items] if hasattr(
                items[0], "SerializeToString") else items  # fmt: skip
            del value[:]
            value.extend(copies)
        elif field.type == field.TYPE_STRING:
            value[at] = rng.choice(names)
        elif field.type in (field.TYPE_INT64, field.TYPE_INT32, field.TYPE_UINT64):
            value[at] = (
                abs(rng.choice(HUGE)) % 2**31
                if field.type != field.TYPE_INT64
                else rng.choice(HUGE)
            )
        elif field.type == field.TYPE_BYTES:
            value[at] = rng.choice([b"", b"nil", b"\xff\xfe", b"W", b"y"])
        return
    kind = rng.randrange(2)
    if kind == 0 or field.type == field.TYPE_MESSAGE:
        message.ClearField(field.name)
    elif field.type == field.TYPE_STRING:
        text = rng.choice(names) if rng.randrange(2) or len(value) < 3 else damaged(value, rng)
        setattr(message, field.name, text)
    elif field.type == field.TYPE_BYTES:
        setattr(message, field.name, rng.choice([b"", value[:-1], value * 2, b"\xff" + value]))
    elif field.type == field.TYPE_INT64:
        setattr(message, field.name, rng.choice(HUGE))
    elif field.type in (field.TYPE_INT32, field.TYPE_ENUM):
        try:
            setattr(message, field.name, rng.choice([0, 1, 2, 6, 7, 8, 9, 11, 16, 21]))
        except ValueError:  # An enumeration that has no such value.
            return


def damaged(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(["", "x", '"', "}", "9e999", "null", "[["]) + text[at + 1 :]


def use(path, folder) -> str:
    """Whatever can be done with a file; what became of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step = tk.load_training(path)
            inputs = [*step.graph.features, *step.graph.targets]
            batch = [X if v.name in ("x", "input") else T for v in inputs]
            step(*batch)
            step.save(folder / "again.onnx")
            if step.graph.initialization is not None:
                step.initialize()
    except ToolkitError as error:
        text = str(error)
        assert len(text) > 20 and "\n\n\n" not in text
        return "refused"
    return "ran"


def others(path, folder) -> None:
    """What else reads such files."""
    reads = [
        lambda: lower_training(path),
        lambda: strip_training(path, folder / "bare.onnx"),
        lambda: save_model(load_model(path), folder / "graph.onnx"),
        lambda: InferenceSession(path),
        lambda: tk.load(path).save(folder / "module.onnx"),
    ]
    for read in reads:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read()
        except ToolkitError as error:
            assert len(str(error)) > 20
    code, text = call("info", str(path))
    assert code == 0 or text.startswith("Error: load"), text
    assert "--debug shows where" not in text, text


def damaged_messages(whole: onnx.ModelProto, rng: random.Random) -> bytes:
    proto = onnx.ModelProto()
    proto.CopyFrom(whole)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        damage(proto, rng)
    return proto.SerializeToString()


def damaged_bytes(whole: onnx.ModelProto, rng: random.Random) -> bytes:
    text = bytearray(whole.SerializeToString())
    for _ in range(rng.choice([1, 2, 5])):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


DAMAGES = {"messages": damaged_messages, "bytes": damaged_bytes}
FOUND = {  # Seeds that once ended in another error.
    ("messages", "entries"): [674],
    ("messages", "own"): [373, 2064],
    ("bytes", "by hand"): [33, 160, 5020],
    ("bytes", "entries"): [793],
    ("bytes", "own"): [137],
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("how", DAMAGES)
def test_damage(tmp_path, how, kind):
    whole, path, ends = FILES[kind](), tmp_path / "m.onnx", set()
    for seed in [*range(ROUNDS), *FOUND.get((how, kind), ())]:
        prefix = "bytes " if how == "bytes" else ""
        path.write_bytes(DAMAGES[how](whole, random.Random(f"{prefix}{kind} {seed}")))
        try:
            ends.add(use(path, tmp_path))
            if seed % 4 == 0:
                others(path, tmp_path)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert ends == {"ran", "refused"}
