"""Transforms of images by the names and defaults of torchvision's v2.

They take Pillow images, tensors (..., C, H, W), and samples that hold them beside labels. Masks and
boxes that follow their image are not part of this.
"""

from toolkit.data.transforms import functional
from toolkit.data.transforms.auto import RandAugment
from toolkit.data.transforms.base import (
    Compose,
    Identity,
    Lambda,
    RandomApply,
    RandomChoice,
    RandomOrder,
    Transform,
)
from toolkit.data.transforms.drawn import (
    ColorJitter,
    GaussianBlur,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from toolkit.data.transforms.fixed import (
    CenterCrop,
    ConvertImageDtype,
    Grayscale,
    Normalize,
    Pad,
    PILToTensor,
    Resize,
    ToDtype,
    ToImage,
    ToPILImage,
    ToTensor,
)
from toolkit.data.transforms.kinds import InterpolationMode

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToTensor",
    "Transform",
    "functional",
]
