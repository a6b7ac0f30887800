"""The public names of onnxruntime beside ours: what lacks stands here with its reason."""

from __future__ import annotations

import importlib
import inspect

import onnxruntime
import pytest

from toolkit import runtime

TRAINING = "of the pybind core, called by onnxruntime's own Python code only"
WEIGHTS = "packs weights for kernels of one GPU library"
DEVICE = "asks hardware plugins, of which there are none"
REASONS = {"import_capi_exception": "a variable of its import"}
CORE = {
    "ModelCompiler": "in onnxruntime_inference_collection",
    "SparseBlockSparseView": "views of sparse tensors",
    "SparseCooView": "views of sparse tensors",
    "SparseCsrView": "views of sparse tensors",
    "SessionObjectInitializer": TRAINING,
    "get_session_initializer": TRAINING,
    "get_default_session_options": TRAINING,
    "get_all_operator_schema": "lists its own operators",
    "get_all_opkernel_def": "lists its own kernels",
    "get_registered_ep_kernel_defs": "lists its own kernels",
    "opkernel": "lists its own kernels",
    "schemadef": "lists its own operators",
    "get_compatibility_info_from_model": DEVICE,
    "get_compatibility_info_from_model_bytes": DEVICE,
    "get_hardware_device_ep_incompatibility_details": DEVICE,
    "get_hardware_devices": DEVICE,
    "get_model_compatibility_for_ep_devices": DEVICE,
    "OrtCompiledModelCompatibility": DEVICE,
    "OrtDeviceEpIncompatibilityReason": DEVICE,
    "ArenaExtendStrategy": "memory is planned",
    "kNextPowerOfTwo": "memory is planned",
    "kSameAsRequested": "memory is planned",
    "pack_fp4_weights_for_cuda_moe_gemm": WEIGHTS,
    "quantize_matmul_2bits": "for its quantizer",
    "quantize_matmul_4bits": "for its quantizer",
    "quantize_matmul_8bits": "for its quantizer",
    "quantize_matmul_bnb4": "for its quantizer",
    "quantize_qdq_matmul_2bits": "for its quantizer",
    "quantize_qdq_matmul_4bits": "for its quantizer",
}
MEMBERS: dict[str, str] = {}
CLASSES = (
    "InferenceSession", "SessionOptions", "RunOptions", "IOBinding", "SessionIOBinding", "OrtValue",
    "NodeArg", "ModelMetadata", "OrtDevice", "OrtArenaCfg",
)  # fmt: skip
ENUMS = (
    "ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "OrtAllocatorType",
    "OrtCompileApiFlags", "OrtDeviceMemoryType", "OrtDeviceVendorId",
    "OrtExecutionProviderDevicePolicy", "OrtHardwareDeviceType", "OrtMemType",
    "OrtMemoryInfoDeviceType", "OrtSparseFormat",
)  # fmt: skip


def public(names) -> set[str]:
    return {n for n in names if not n.startswith("_")}


def test_names_of_the_module():
    """Modules are not compared: those imported so far are among them."""
    names = {n for n in public(dir(onnxruntime)) if not inspect.ismodule(getattr(onnxruntime, n))}
    missing = names - set(dir(runtime))
    assert missing - REASONS.keys() == set()
    assert not [n for n in REASONS if n not in dir(onnxruntime)]
    for name in names - REASONS.keys():
        getattr(runtime, name)


def test_names_of_the_core():
    theirs = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    ours = importlib.import_module("toolkit.runtime.capi.onnxruntime_pybind11_state")
    missing = public(dir(theirs)) - set(dir(ours))
    assert missing - CORE.keys() == set()
    for name in public(dir(theirs)):
        found = getattr(theirs, name)
        if isinstance(found, type) and issubclass(found, BaseException):
            assert issubclass(getattr(ours, name), Exception)


@pytest.mark.parametrize("name", CLASSES)
def test_members(name):
    theirs, ours = getattr(onnxruntime, name), getattr(runtime, name)
    members = public(dir(theirs))
    if name in ("NodeArg", "ModelMetadata", "OrtArenaCfg"):
        assert members <= set(ours.__dataclass_fields__)
        return
    fields = set(getattr(ours, "__dataclass_fields__", ()))
    assert members - set(dir(ours)) - fields - {m for m in MEMBERS if m.startswith(name)} == set()


@pytest.mark.parametrize("name", ["InferenceSession", "IOBinding", "OrtValue", "OrtDevice"])
def test_parameters_have_the_same_names(name):
    """Calls by keyword keep working; what onnxruntime takes by position only may differ."""
    theirs, ours = getattr(onnxruntime, name), getattr(runtime, name)
    for member in public(vars(theirs)) | {"__init__"}:
        want = inspect.signature(getattr(theirs, member)).parameters.values()
        got = inspect.signature(getattr(ours, member)).parameters
        rest = any(p.kind == p.VAR_KEYWORD for p in got.values())
        for p in want:
            named = p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            private = member == "__init__" and name in ("OrtValue", "OrtDevice")
            assert not named or private or rest or p.name in got, (name, member, p.name)


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations(name):
    theirs, ours = getattr(onnxruntime, name), getattr(runtime, name)
    want = {n: int(m) for n, m in theirs.__members__.items()}
    assert {n: int(m) for n, m in ours.__members__.items()} == want
    assert [ours(v).name for v in set(want.values())] == [
        theirs(v).name for v in set(want.values())
    ]


def test_the_defaults_of_options():
    for kind in ("SessionOptions", "RunOptions"):
        theirs, ours = getattr(onnxruntime, kind)(), getattr(runtime, kind)()
        for name in public(dir(theirs)):
            value = getattr(theirs, name)
            if not callable(value):
                assert getattr(ours, name) == (value if isinstance(value, str) else int(value)), (
                    name
                )
