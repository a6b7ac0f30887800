"""onnxruntime's names around `InferenceSession`: options, values, bindings, enums, exceptions.

`PUBLIC` says where each name of the module `onnxruntime` is; `toolkit.runtime` gives them when
asked. What stands for other hardware or formats is in `refused`; `install` puts all of it in
onnxruntime's place.
"""

from __future__ import annotations

VERSION = "1.32.0"  # Of the onnxruntime whose API this is.

_MODULES = {
    "binding": ("IOBinding", "SessionIOBinding"),
    "describe": ("ModelMetadata", "NodeArg"),
    "devices": ("OrtArenaCfg", "OrtDevice", "OrtMemoryInfo"),
    "enums": (
        "ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "LoggingSeverity",
        "OrtAllocatorType", "OrtCompileApiFlags", "OrtDeviceMemoryType", "OrtDeviceVendorId",
        "OrtExecutionProviderDevicePolicy", "OrtHardwareDeviceType", "OrtMemType",
        "OrtMemoryInfoDeviceType", "OrtSparseFormat",
    ),
    "environment": (
        "create_and_register_allocator", "create_and_register_allocator_v2", "cuda_version",
        "disable_telemetry_events", "enable_telemetry_events", "get_all_providers",
        "get_available_providers", "get_build_info", "get_device", "get_ep_devices",
        "get_version_string", "has_collective_ops", "package_name", "preload_dlls",
        "print_debug_info", "register_execution_provider_library", "set_default_logger_callback",
        "set_default_logger_severity", "set_default_logger_verbosity",
        "set_global_thread_pool_sizes", "set_seed", "unregister_execution_provider_library",
        "version",
    ),
    "install": ("install_as_onnxruntime",),
    "options": ("RunOptions", "SessionOptions"),
    "refused": (
        "AdapterFormat", "LoraAdapter", "ModelCompiler", "ModelPackage",
        "ModelPackageComponentContext", "ModelPackageContext", "ModelPackageOptions",
        "ModelPackageWriteMode", "OrtEpAssignedNode", "OrtEpAssignedSubgraph", "OrtEpContextData",
        "OrtEpContextDataBuffer", "OrtEpDevice", "OrtExternalInitializerInfo", "OrtHardwareDevice",
        "OrtSyncStream", "SparseTensor",
    ),
    "values": ("OrtValue", "copy_tensors"),
}  # fmt: skip
PUBLIC = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
PUBLIC["InferenceSession"] = "toolkit.runtime.session"
