"""Names of onnxruntime that stand for what this runtime has not: to use one is a clear error."""

from __future__ import annotations

from typing import Any, NoReturn

from toolkit.runtime.api import exceptions


def refuse(name: str, reason: str) -> NoReturn:
    """Raises the error of a name that has nothing behind it here."""
    raise exceptions.NotImplemented(f"{name}: what this runtime has is required. {reason}")


class _Refuses(type):
    """Of a class of which nothing can be made and no method called."""

    reason: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        refuse(cls.__name__, cls.reason)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(f"{cls.__name__}.{name}", cls.reason)


def _refused(name: str, reason: str) -> _Refuses:
    return _Refuses(name, (), {"__doc__": reason, "__module__": __name__, "reason": reason})


_SPARSE = "Feed a dense array; sparse initializers of a file are made dense when it is loaded."
_DEVICES = "There are no execution providers besides the CPU's."
_COMPILED = (
    "A session compiles the model itself; `optimized_model_filepath` writes the optimized one."
)
_PACKAGE = "Load the .onnx file in the package."
_LORA = "toolkit.train.adapters makes and merges adapters; a session runs the merged file."

SparseTensor = _refused("SparseTensor", _SPARSE)
LoraAdapter = _refused("LoraAdapter", _LORA)
AdapterFormat = _refused("AdapterFormat", _LORA)
ModelCompiler = _refused("ModelCompiler", _COMPILED)
ModelPackage = _refused("ModelPackage", _PACKAGE)
ModelPackageComponentContext = _refused("ModelPackageComponentContext", _PACKAGE)
ModelPackageContext = _refused("ModelPackageContext", _PACKAGE)
ModelPackageOptions = _refused("ModelPackageOptions", _PACKAGE)
ModelPackageWriteMode = _refused("ModelPackageWriteMode", _PACKAGE)
OrtEpAssignedNode = _refused("OrtEpAssignedNode", _DEVICES)
OrtEpAssignedSubgraph = _refused("OrtEpAssignedSubgraph", _DEVICES)
OrtEpContextData = _refused("OrtEpContextData", _DEVICES)
OrtEpContextDataBuffer = _refused("OrtEpContextDataBuffer", _DEVICES)
OrtEpDevice = _refused("OrtEpDevice", _DEVICES)
OrtExternalInitializerInfo = _refused("OrtExternalInitializerInfo", _COMPILED)
OrtHardwareDevice = _refused("OrtHardwareDevice", _DEVICES)
OrtSyncStream = _refused("OrtSyncStream", _DEVICES)
