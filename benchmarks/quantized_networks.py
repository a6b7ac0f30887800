"""Whole networks as onnxruntime's quantizers write them, in our runtime and in onnxruntime.

    python benchmarks/quantized_networks.py [--threads 1 2] [--seconds 3] [--only TEXT]

Files: ResNet-50 and MobileNetV2 by the static quantizer (QDQ and QOperator; weights of a channel
each in int8, activations uint8), BERT-base by the dynamic quantizer, a step of GPT-2 by
MatMulNBitsQuantizer (4 bits, blocks of 32) with its default and with float activations. The ratio
is theirs to ours, so more is better for us; "float32" is the file that the quantizer was given.
`--busy`: with one thread, the processor's clock.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.zoo import NETWORKS, Network
from toolkit.graph.io import load_model, to_proto
from toolkit.runtime.measure import peers

FILES = {
    "resnet50": ("QDQ", "QOperator"),
    "mobilenet_v2": ("QDQ", "QOperator"),
    "bert_base, T 128": ("dynamic",),
    "gpt2, step after 512": ("nbits",),
}
OPSET = 17  # What the quantizers take of all networks.


class Calibration:
    """A few inputs, as the quantizer reads them."""

    def __init__(self, names: list[str], network: Network) -> None:
        self.feeds = iter(
            dict(zip(names, network.example(seed), strict=True)) for seed in range(1, 4)
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next feed."""
        return next(self.feeds, None)


def plain(network: Network, path: Path) -> list[str]:
    """Writes the float32 file; the names of its inputs."""
    if not path.exists():
        from onnxruntime.quantization.shape_inference import quant_pre_process

        network.save(path)
        path.write_bytes(to_proto(load_model(path), OPSET).SerializeToString())
        quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    return [v.name for v in onnx.load(path, load_external_data=False).graph.input]


def quantized(kind: str, source: Path, path: Path, names: list[str], network: Network) -> None:
    """Writes the file that one of onnxruntime's quantizers makes."""
    from onnxruntime import quantization

    if kind == "dynamic":
        quantization.quantize_dynamic(
            source, path, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT}
        )
    elif kind == "nbits":
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        made = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=32)
        made.process()
        made.model.save_model_to_file(str(path))
    else:
        quantization.quantize_static(
            source,
            path,
            Calibration(names, network),
            quant_format=quantization.QuantFormat[kind],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def cases(only: str, folder: Path) -> Iterator[tuple[str, Path, dict[str, np.ndarray]]]:
    """(name, file, feed) of each network and kind."""
    logging.disable(logging.WARNING)
    for name, kinds in FILES.items():
        network = NETWORKS[name]
        slug = name.split(",")[0]
        for kind in ("float32", *kinds):
            label = f"{name}, {kind}"
            if only not in label:
                continue
            source = folder / f"{slug}.onnx"
            names = plain(network, source)
            path = source if kind == "float32" else folder / f"{slug}_{kind}.onnx"
            if not path.exists():
                quantized(kind, source, path, names, network)
            yield label, path, dict(zip(names, network.example(), strict=True))


def main() -> None:
    """Prints a Markdown table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = list(cases(options.only, folder))
        for threads in options.threads:
            tk.set_num_threads(threads)
            clock = time.process_time if options.busy and threads == 1 else time.perf_counter
            print(f"\n| network, {threads} threads | ours ms | onnxruntime ms | ratio | differ |")
            print("|---|---|---|---|---|")
            for label, path, feed in found:
                runs = {s: peers.load(s, path, threads, feed) for s in ("ours", "onnxruntime")}
                result = peers.measure(runs, feed, options.seconds, clock)
                ours, theirs = (result.medians[s] for s in runs)
                print(
                    f"| {label} | {ours * 1e3:.2f} | {theirs * 1e3:.2f} | {theirs / ours:.2f} "
                    f"| {result.errors['onnxruntime']:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
