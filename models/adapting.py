"""How a model is changed before it trains: heads, Dropout, BatchNorm, freezing, adapters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.models.recipe import number, pairs

_HEAD = ("classes", "cut", "output", "softmax")
_DROPOUT = ("p", "after", "before")
_LORA = ("r", "alpha", "dropout", "targets", "exclude", "dora", "rslora")


@dataclass(frozen=True)
class Changes:
    """What the options of `toolkit train` ask for, as they are written.

    Attributes:
        freeze: globs of weights that do not train.
        unfreeze: globs of weights that train after all.
        head: "classes=10[,cut=VALUE][,output=NAME][,softmax=keep]", or "auto" for the data's.
        dropout: "p=0.1[,after=GLOB][,before=GLOB]", each one a Dropout.
        batch_norm: "frozen" or "train".
        lora: "r=8[,alpha=16][,dropout=0.1][,targets=GLOB][,dora][,rslora]".
    """

    freeze: Sequence[str] = ()
    unfreeze: Sequence[str] = ()
    head: str | None = None
    dropout: Sequence[str] = ()
    batch_norm: str | None = None
    lora: str | None = None

    @property
    def some(self) -> bool:
        """Whether any is asked for."""
        return any(vars(self).values())

    def of_files_only(self) -> str | None:
        """An option that is asked for and needs an `.onnx`."""
        names = ("head", "dropout", "batch_norm")
        return next((f"--{n.replace('_', '-')}" for n in names if getattr(self, n)), None)


def load_changed(path: str, changes: Changes, classes: int) -> Any:
    """The file as a module, changed.

    Args:
        path: of the `.onnx`.
        changes: what to change.
        classes: the data's, for `--head auto`.

    Raises:
        InvalidArgumentError: an option that does not fit the file; it says what would.
    """
    from toolkit.nn.graph_module import load

    net = load(path, batch_norm=changes.batch_norm or "train")
    fresh: set[str] = set()
    if changes.head is not None:
        before = {name: id(p) for name, p in net.named_parameters()}
        net.replace_head(**_head(changes.head, classes))
        fresh = {n for n, p in net.named_parameters() if before.get(n) != id(p)}
    for text in changes.dropout:
        options: dict[str, Any] = dict(_known(text, "--dropout", _DROPOUT))
        options["p"] = number(options.get("p", "0.5"), "--dropout")
        net.insert_dropout(**options)
    adapt(net, changes, fresh)
    return net


def adapt(net: Any, changes: Changes, fresh: Collection[str] = ()) -> None:
    """Freezes, and puts adapters on; a fresh head trains in full."""
    import fnmatch

    from toolkit.train import lora

    if changes.lora is not None:
        given = _known(changes.lora, "--lora", _LORA, ("dora", "rslora"))
        options: dict[str, Any] = {k: given[k] for k in ("targets", "exclude") if k in given}
        options |= {k: True for k in ("dora", "rslora") if given.get(k) == "yes"}
        options |= {k: number(given[k], "--lora") for k in ("alpha", "dropout") if k in given}
        if not given.get("r", "8").isdecimal():
            raise InvalidArgumentError(
                f"--lora: a whole number is required as r, got {given['r']}."
            )
        exclude = [options.pop("exclude")] if "exclude" in options else []
        lora(net, int(given.get("r", 8)), exclude=[*exclude, *fresh],
             modules_to_save=sorted(fresh), **options)  # fmt: skip
    names = dict(net.named_parameters())
    for patterns, trains in ((changes.freeze, False), (changes.unfreeze, True)):
        for pattern in patterns:
            found = fnmatch.filter(names, pattern)
            if not found:
                option = "--unfreeze" if trains else "--freeze"
                some = ", ".join(list(names)[:8])
                raise InvalidArgumentError(
                    f"{option}: a glob that takes a parameter is required, got '{pattern}'. There "
                    f"are {some}{', ...' if len(names) > 8 else ''}."
                )
            for name in found:
                names[name].requires_grad_(trains)


def _head(text: str, classes: int) -> dict[str, Any]:
    if text == "auto":
        if not classes:
            raise InvalidArgumentError("--head auto: data with classes are required, got none.")
        return {"classes": classes}
    options: dict[str, Any] = dict(_known(text, "--head", _HEAD))
    if not str(options.get("classes", "")).isdecimal():
        raise InvalidArgumentError(f"--head: classes=NUMBER,... or auto is required, got '{text}'.")
    options["classes"] = int(options["classes"])
    return options


def _known(text: str, option: str, names: Sequence[str], flags: Sequence[str] = ()) -> Any:
    found = pairs(text, option, flags)
    for name in found:
        if name not in names:
            raise InvalidArgumentError(
                f"{option}: one of {', '.join(names)} is required, got '{name}'."
            )
    return found


def save_model(step: Any, best: Path, path: Path) -> None:
    """Writes the file that was trained, with its best weights in it and adapters merged.

    Args:
        step: of a `GraphModule`; it keeps the weights that it has.
        best: the checkpoint; the average of its weights counts, if it has one.
        path: of the new file, which differs from the first where it was trained.
    """
    from toolkit.train import load_training, merge
    from toolkit.train.adapters.apply import adapters_of
    from toolkit.train.updates import averages

    graph, net = step.graph, step.model
    now = {value: tensor.clone() for value, tensor in graph.states.items()}
    step.adopt(load_training(best))
    if step.averages:
        for weight, average in averages(graph.states).items():
            graph.states[weight].copy_from(graph.states[average])
    if any(True for _ in adapters_of(net)):
        merge(net)
    net.save(path)
    for value, tensor in now.items():
        graph.states[value].copy_from(tensor)
