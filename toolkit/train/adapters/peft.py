"""Reads adapters that peft saved: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.convert.safetensors import read_safetensors
from toolkit.errors import InvalidArgumentError, InvalidModelError, ToolkitWarning
from toolkit.nn.graph_module.file_graph import near
from toolkit.train.adapters.formula import FACTORS, MAGNITUDE
from toolkit.train.adapters.targets import Named

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


def is_peft(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of peft's, or the tensors in one."""
    return Path(path).is_dir() or Path(path).suffix == ".safetensors"


def read_peft(
    path: str | os.PathLike[str], hosts: Sequence[Named]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `lora` and the tensors by their names here.

    Args:
        path: the folder, or its file of tensors.
        hosts: the layers of the model; those that the file names are found among them.

    Raises:
        InvalidModelError: it is no LoRA of peft, or of a kind that there is none of here.
        InvalidArgumentError: the model lacks a layer.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    where = f"load_adapters '{os.fspath(path)}'"
    config = _config(where, folder)
    arrays = read_safetensors(folder / _WEIGHTS if Path(path).is_dir() else path)
    found: dict[str, Any] = {}
    targets: dict[str, None] = {}
    whole: list[str] = []
    if any(".base_layer.out_proj." in key for key in arrays):
        warnings.warn(
            f"{where}: LoRA as it is written is required, got a MultiheadAttention of peft, which "
            "(0.21) adds the update of out_proj twice: here it is added once.",
            ToolkitWarning,
            stacklevel=3,
        )
    for key, array in arrays.items():
        name = key.removeprefix(_PREFIX).replace(".base_layer.", ".")
        parts = name.split(".")
        at = next((i for i, part in enumerate(parts) if part in FACTORS), None)
        if at is None:
            found[name] = array
            whole.append(name)
            continue
        host = _host(where, ".".join(parts[:at]), hosts)
        targets[host] = None
        if parts[at] == MAGNITUDE:
            found[f"{host}.{MAGNITUDE}"] = array.reshape(-1)
        else:
            found[".".join((host, *parts[at:]))] = array
    setup = {
        "r": int(config["r"]),
        "alpha": config.get("lora_alpha"),
        "dropout": config.get("lora_dropout", 0.0),
        "dora": bool(config.get("use_dora", False)),
        "rslora": bool(config.get("use_rslora", False)),
        "targets": list(targets),
        "modules_to_save": whole,
    }
    return setup, found


def _config(where: str, folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidModelError(f"{where}: peft's {_CONFIG} is required, got {error}.") from None
    odd = [n for n in ("rank_pattern", "alpha_pattern", "layer_replication", "lora_bias")
           if config.get(n)]  # fmt: skip
    if config.get("peft_type") != "LORA" or "r" not in config or odd:
        raise InvalidModelError(
            f"{where}: a LORA of one rank is required, got {config.get('peft_type')}"
            + (f" with {odd}." if odd else ".")
        )
    return config


def _host(where: str, path: str, hosts: Sequence[Named]) -> str:
    """The layer of a path: by its name, its weight's, or that of an exporter's node."""
    wanted = (path, f"{path}.weight")
    for host in hosts:
        if host.name in wanted or any(alias in wanted for alias in host.aliases):
            return host.name
    inside = [
        host.name
        for host in hosts
        if any(f".{alias}".rpartition(".")[0].endswith(f".{path}") for alias in host.aliases)
    ]
    if len(inside) != 1:
        raise InvalidArgumentError(
            f"{where}: one layer '{path}' of the model is required, got {inside or 'none'}. "
            + near(path, [host.name for host in hosts])
        )
    return inside[0]
