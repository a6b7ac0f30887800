"""onnxruntime's exceptions, and what its Python API takes from its core."""

from __future__ import annotations

from toolkit.runtime.api.binding import SessionIOBinding as SessionIOBinding
from toolkit.runtime.api.describe import ModelMetadata as ModelMetadata
from toolkit.runtime.api.describe import NodeArg as NodeArg
from toolkit.runtime.api.devices import OrtArenaCfg as OrtArenaCfg
from toolkit.runtime.api.devices import OrtDevice as OrtDevice
from toolkit.runtime.api.devices import OrtMemoryInfo as OrtMemoryInfo
from toolkit.runtime.api.enums import *  # noqa: F403
from toolkit.runtime.api.environment import *  # noqa: F403
from toolkit.runtime.api.exceptions import *  # noqa: F403
from toolkit.runtime.api.options import RunOptions as RunOptions
from toolkit.runtime.api.options import SessionOptions as SessionOptions
from toolkit.runtime.api.refused import *  # noqa: F403
from toolkit.runtime.api.values import OrtValue as OrtValue
from toolkit.runtime.api.values import OrtValueVector as OrtValueVector
from toolkit.runtime.api.values import copy_tensors as copy_tensors
from toolkit.runtime.session import InferenceSession as InferenceSession
