"""Reads and writes `.onnx`: any opset comes in at the canonical one, any goes out.

`ModelProto.training_info`, which onnx-ir drops, travels in `model.meta["training_info"]`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.downgrade import downgrade
from toolkit.graph.upgrade import CANONICAL_OPSET, upgrade

__all__ = [
    "CANONICAL_OPSET",
    "DEFAULT_EXPORT_OPSET",
    "load_model",
    "read_proto",
    "save_model",
    "to_proto",
]

DEFAULT_EXPORT_OPSET = 21
EXTERNAL_DATA_LIMIT = 2**31 - 2**24
"""Files of more bytes keep their weights in `<name>.data` beside them: protobuf ends at 2 GB."""

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model


def load_model(source: ModelSource) -> ir.Model:
    """Reads, checks and upgrades a model; its values then have types and, if known, shapes.

    Args:
        source: A path, the file's bytes, a `ModelProto` (not changed), or an `ir.Model` (changed in
            place and returned).

    Raises:
        InvalidModelError: The file is missing, truncated, no ONNX model, or violates the standard.
    """
    if isinstance(source, ir.Model):
        model = source
    else:
        proto, base = _read(source)
        _check(proto, base, _label(source))
        model = _deserialize(proto, base, _label(source))
    upgrade(model)
    return model


def read_proto(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """Reads and checks a file as it stands, without an upgrade.

    Raises:
        InvalidModelError: The file is missing, truncated, no ONNX model, or violates the standard.
    """
    proto, base = _read(source)
    _check(proto, base, _label(source))
    return proto


def _label(source: ModelSource) -> str:
    if isinstance(source, (str, os.PathLike)):
        return f"load '{os.fspath(source)}'"
    return "load"


def _read(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """The proto, and the folder that external data is relative to."""
    if isinstance(source, onnx.ModelProto):
        return source, ""
    where, base = _label(source), ""
    if isinstance(source, bytes):
        text = source
    else:
        path = Path(source)
        if not path.is_file():
            got = "a folder" if path.is_dir() else "no such file"
            raise InvalidModelError(f"{where}: an .onnx file is required, got {got}.")
        base = str(path.parent)
        try:
            text = path.read_bytes()
        except OSError as error:
            got = error.strerror or str(error)
            raise InvalidModelError(f"{where}: a readable file is required, got {got}.") from None
    try:
        proto = onnx.ModelProto.FromString(text)
    except Exception:
        size = f"{len(text)} bytes that do not parse" if text else "an empty one"
        hint = "Is it truncated?" if text else "Was it written to its end?"
        raise InvalidModelError(f"{where}: an ONNX model is required, got {size}. {hint}") from None
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        got = "an empty one" if not text else f"{len(text)} bytes without a graph"
        raise InvalidModelError(f"{where}: an ONNX model is required, got {got}. Is it truncated?")
    return proto, base


def _check(proto: onnx.ModelProto, base: str, where: str) -> None:
    """The standard's own checker, without the big tensors' bytes."""
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            need = f"opset 1 to {newest} is required"
            raise InvalidModelError(f"{where}: {need}, got {entry.version}.")
    if any(_lacks_shape(output) for output in proto.graph.output):
        shaped = onnx.ModelProto()  # The checker wants them; files without are in the wild.
        shaped.CopyFrom(proto)
        for output in filter(_lacks_shape, shaped.graph.output):
            output.type.tensor_type.shape.SetInParent()
        proto = shaped
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        text = _one_line(str(error))
        if "is deprecated in domain_version" in text:
            return  # The upgrade replaces it.
        raise InvalidModelError(
            f"{where}: a valid ONNX model is required, got one where: {text}"
        ) from None


def _lacks_shape(output: onnx.ValueInfoProto) -> bool:
    kind = output.type.WhichOneof("value")
    return kind == "tensor_type" and not output.type.tensor_type.HasField("shape")


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    found = lines[0] if lines else "(no message)"
    return found if len(found) <= 300 else found[:297] + "..."


def _deserialize(proto: onnx.ModelProto, base: str, where: str) -> ir.Model:
    try:
        model = ir.serde.deserialize_model(proto)
        if base:
            for graph in model.graphs():
                ir.external_data.set_base_dir(graph, base)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        text = _one_line(f"{type(cause).__name__}: {cause}")
        raise InvalidModelError(
            f"{where}: a valid ONNX model is required, got one where: {text}"
        ) from None
    if model.ir_version < 4:
        # Every initializer had to be an input as well; none is meant to be fed.
        initial = model.graph.initializers
        kept = [v for v in model.graph.inputs if v.name not in initial]
        model.graph.inputs.clear()
        model.graph.inputs.extend(kept)
    if proto.training_info:
        model.meta["training_info"] = list(proto.training_info)
    return model


def to_proto(model: ir.Model, opset: int | None = None, inline: bool = False) -> onnx.ModelProto:
    """The model as a `ModelProto` of standard operators and the composites' function bodies.

    Args:
        model: A model at the canonical opset; it is not changed.
        opset: The opset of the result; `DEFAULT_EXPORT_OPSET` without.
        inline: Replace the calls of composite functions by their bodies.

    Raises:
        UnsupportedOperatorError: A node cannot be expressed at `opset`.
    """
    target = DEFAULT_EXPORT_OPSET if opset is None else opset
    work = _copy(model)
    _composites(work, target, inline)
    downgrade(work, target)
    work.ir_version = _ir_version(work)
    proto = ir.serde.serialize_model(work)
    for info in model.meta.get("training_info", ()):
        proto.training_info.append(info)
    return proto


def _copy(model: ir.Model) -> ir.Model:
    work = model.clone()
    for value, source in zip(
        work.graph.initializers.values(), model.graph.initializers.values(), strict=True
    ):
        value.const_value = source.const_value
    return work


def _composites(model: ir.Model, opset: int, inline: bool) -> None:
    """Gives the calls of `toolkit.*` functions their bodies."""
    used = any(node.domain.startswith("toolkit.") for node in model.graph.all_nodes())
    if not used:
        return
    from toolkit.graph import functions

    if inline:
        functions.inline(model)
    else:
        functions.attach(model, opset)


def _ir_version(model: ir.Model) -> int:
    """The oldest IR version that knows every opset the model imports."""
    table = onnx.helper.OP_SET_ID_VERSION_MAP
    needed = [8 if model.functions else 3]
    for domain, version in model.opset_imports.items():
        needed.append(table.get((domain or "ai.onnx", version), 3))
    return max(needed)


def save_model(
    model: ir.Model,
    path: str | os.PathLike[str],
    opset: int | None = None,
    inline: bool = False,
) -> None:
    """Writes the model; a reader sees the old file or the whole new one, never a part.

    Weights of 2 GB and more go to `<path>.data` beside the file.

    Args:
        model: As in `to_proto`.
        path: The file to write.
        opset: As in `to_proto`.
        inline: As in `to_proto`.

    Raises:
        UnsupportedOperatorError: A node cannot be expressed at `opset`.
    """
    write_proto(to_proto(model, opset, inline), path)


def write_proto(proto: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Writes a proto atomically: temporary file, fsync, rename."""
    path = Path(path)
    write_atomically(path, proto.SerializeToString())


def write_atomically(path: Path, text: bytes) -> None:
    """Replaces `path` by a file that holds `text`.

    The new file has no name until it is whole, where the system can do that: a process that is
    killed meanwhile leaves nothing behind.
    """
    name = f"{path.parent}/.{path.name}.{os.getpid()}.tmp"
    try:
        handle = _open_unnamed(path.parent)
        with os.fdopen(handle or os.open(name, _NEW_FILE, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.fileno(), _mode(path))
            if handle is not None:
                Path(name).unlink(missing_ok=True)
                # Naming a directory makes Python call linkat, which follows the link.
                own = f"/proc/self/fd/{file.fileno()}"
                os.link(own, name, src_dir_fd=file.fileno(), follow_symlinks=True)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _open_unnamed(folder: Path) -> int | None:
    """A file without a name in `folder`; None where the file system has no such thing."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except IsADirectoryError:  # An old kernel that does not know the flag.
        return None
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return None
        raise


def _mode(path: Path) -> int:
    """The permissions that the file has, or that a new one would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Makes the rename survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
