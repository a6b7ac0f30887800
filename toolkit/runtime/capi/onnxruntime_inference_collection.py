"""Sessions, values and bindings."""

from toolkit.runtime.api.binding import IOBinding as IOBinding
from toolkit.runtime.api.devices import OrtDevice as OrtDevice
from toolkit.runtime.api.enums import OrtDeviceVendorId as OrtDeviceVendorId
from toolkit.runtime.api.environment import get_device as get_device
from toolkit.runtime.api.refused import AdapterFormat as AdapterFormat
from toolkit.runtime.api.refused import ModelCompiler as ModelCompiler
from toolkit.runtime.api.refused import SparseTensor as SparseTensor
from toolkit.runtime.api.values import OrtValue as OrtValue
from toolkit.runtime.session import InferenceSession as InferenceSession

Session = InferenceSession
