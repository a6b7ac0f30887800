"""Operators that are programs of their own, refused with what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.
_DECODE = "Run the decoder's graph step by step, with InferenceSession.kv_cache."
HINTS = {
    **dict.fromkeys(("BeamSearch", "WhisperBeamSearch", "GreedySearch", "Sampling"), _DECODE),
    "Tokenizer": "Split texts before the graph, or with ai.onnx's StringSplit and RegexFullMatch.",
    "WordConvEmbedding": "Embed words before the graph.",
    "MurmurHash3": "Hash before the graph.",
    "EPContext": "It holds a model compiled for another device: load the model it was made of.",
    "QMoE": "Load the model before its experts were quantized.",
    "MoE": "Load the model before its experts were fused.",
    "PagedAttention": "Load the model with GroupQueryAttention.",
    "PackedAttention": "Load the model before its padding was removed.",
    "PackedMultiHeadAttention": "Load the model before its padding was removed.",
    "LongformerAttention": "It runs on other devices only.",
    "DecoderMaskedMultiHeadAttention": _DECODE,
    "DecoderMaskedSelfAttention": _DECODE,
}


@contrib(*HINTS)
def refused(c: Call, *inputs: V) -> NoReturn:
    """An error with the hint."""
    raise c.fail(
        "an operator that can be written in ONNX's is required", f"this. {HINTS[c.node.op_type]}"
    )
