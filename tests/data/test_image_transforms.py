"""Transforms beside Pillow, and beside their definitions in numpy; what they draw, and refuse."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

import toolkit as tk
from toolkit import nn
from toolkit.data import DataLoader, Dataset
from toolkit.data import transforms as v2
from toolkit.data.transforms import functional as F
from toolkit.errors import DataDependentError
from toolkit.runtime import InferenceSession

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
SMOOTH = np.clip(
    128 + 99 * np.sin(np.add.outer(np.arange(40) / 7, np.arange(60) / 5))[..., None] * [1, 0.7, -1],
    0, 255,
).astype(np.uint8)  # fmt: skip
PIL = Image.fromarray(PIXELS)
BYTES = v2.ToImage()(PIL)
FLOATS = v2.ToTensor()(PIL)
GRAY = PIL.convert("L")


def array(image):
    """(H, W, C) of either kind."""
    if isinstance(image, tk.Tensor):
        return image.numpy().transpose(1, 2, 0)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


# -- conversion -----------------------------------------------------------------------------------


def test_conversions():
    assert BYTES.dtype is tk.uint8 and np.array_equal(array(BYTES), PIXELS)
    assert FLOATS.dtype is tk.float32
    np.testing.assert_array_equal(
        FLOATS.numpy(), torch.tensor(PIXELS).permute(2, 0, 1).div(255).numpy()
    )
    assert v2.ToTensor()(PIXELS[:, :, 0]).shape == (1, 20, 30)
    assert v2.ToTensor()(np.ones((4, 5, 2), np.float64)).dtype is tk.float64
    assert np.array_equal(v2.PILToTensor()(GRAY).numpy()[0], np.asarray(GRAY))
    assert v2.ToTensor()(Image.new("1", (3, 2), 1)).tolist() == [[[1.0] * 3] * 2]
    assert np.array_equal(np.asarray(v2.ToPILImage()(BYTES)), PIXELS)
    assert np.array_equal(np.asarray(v2.ToPILImage()(FLOATS)), PIXELS)
    assert v2.ToPILImage("L")(BYTES).mode == "L" and v2.ToPILImage()(FLOATS[:1]).mode == "L"


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        ("uint8", "float32", [0.0, 1 / 255, 1.0]),
        ("uint8", "float64", [0.0, 1 / 255, 1.0]),
        ("uint8", "int16", [0, 1 << 7, 255 << 7]),
        ("int16", "uint8", [0, 0, 1]),
        ("float32", "uint8", [0, 255, 255]),
        ("float32", "float64", [0.0, 1.0, 255.0]),
    ],
)
def test_scaled_types(old, new, want):
    values = {"float32": [0.0, 1.0, 255.0], "int16": [0, 1, 255]}.get(old, [0, 1, 255])
    x = tk.tensor(values, dtype=getattr(tk, old))
    if (old, new) == ("float32", "uint8"):
        x = tk.tensor([0.0, 0.9999, 1.0])
    got = v2.ToDtype(getattr(tk, new), scale=True)(x)
    assert got.dtype is getattr(tk, new)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    assert v2.ToDtype(getattr(tk, new))(x).tolist() == x.to(getattr(tk, new)).tolist()


def test_normalize():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = v2.Normalize(mean, std)(FLOATS)
    want = (PIXELS / 255 - mean) / std
    np.testing.assert_allclose(array(got), want, rtol=1e-4, atol=1e-6)
    batch = v2.Normalize(mean, std)(tk.stack([FLOATS, FLOATS]))
    np.testing.assert_array_equal(batch[1].numpy(), got.numpy())
    x = FLOATS.clone()
    assert v2.Normalize([0.5], [2.0], inplace=True)(x) is x
    np.testing.assert_allclose(x.numpy(), (FLOATS.numpy() - 0.5) / 2, rtol=1e-6)


# -- geometry: Pillow's own result, and the same of tensors ----------------------------------------

P = Image.Resampling
PADDED = np.pad(PIXELS, ((2, 4), (1, 3), (0, 0)))
# name -> (transform, what it must give; whether a byte may differ by one, as Pillow rounds twice)
GEOMETRY = {
    "resize": (v2.Resize((8, 11)), PIL.resize((11, 8), P.BILINEAR), 1),
    "resize up": (v2.Resize((50, 70)), PIL.resize((70, 50), P.BILINEAR), 1),
    "resize one": (v2.Resize(10), PIL.resize((15, 10), P.BILINEAR), 1),
    "resize in a list": (v2.Resize([10]), PIL.resize((15, 10), P.BILINEAR), 1),
    "resize, most": (v2.Resize(14, max_size=16), PIL.resize((16, 10), P.BILINEAR), 1),
    "resize, longer": (v2.Resize(None, max_size=16), PIL.resize((16, 10), P.BILINEAR), 1),
    "resize bicubic": (v2.Resize((9, 40), v2.InterpolationMode.BICUBIC),
                       PIL.resize((40, 9), P.BICUBIC), 1),
    "resize nearest": (v2.Resize((10, 15), "nearest-exact"), PIL.resize((15, 10), P.NEAREST), 0),
    "center": (v2.CenterCrop((11, 8)), PIXELS[4:15, 11:19], 0),
    "center beyond": (v2.CenterCrop((24, 33)), np.pad(PIXELS, ((2, 2), (1, 2), (0, 0))), 0),
    "pad": (v2.Pad((1, 2, 3, 4)), PADDED, 0),
    "pad one": (v2.Pad(2), np.pad(PIXELS, ((2, 2), (2, 2), (0, 0))), 0),
    "pad two": (v2.Pad((1, 2)), np.pad(PIXELS, ((2, 2), (1, 1), (0, 0))), 0),
    "pad colour": (v2.Pad(1, (9, 8, 7)), np.asarray(ImageOps.expand(PIL, 1, (9, 8, 7))), 0),
    "pad number": (v2.Pad(1, 9), np.pad(PIXELS, ((1, 1), (1, 1), (0, 0)), constant_values=9), 0),
    "pad edge": (v2.Pad((1, 2), padding_mode="edge"),
                 np.pad(PIXELS, ((2, 2), (1, 1), (0, 0)), "edge"), 0),
    "pad reflect": (v2.Pad(3, padding_mode="reflect"),
                    np.pad(PIXELS, ((3, 3), (3, 3), (0, 0)), "reflect"), 0),
    "pad symmetric": (v2.Pad(3, padding_mode="symmetric"),
                      np.pad(PIXELS, ((3, 3), (3, 3), (0, 0)), "symmetric"), 0),
    "flip": (v2.RandomHorizontalFlip(1.0), PIXELS[:, ::-1], 0),
    "turn over": (v2.RandomVerticalFlip(1.0), PIXELS[::-1], 0),
    "no flip": (v2.RandomHorizontalFlip(0.0), PIXELS, 0),
    "half turn": (v2.RandomRotation((180, 180)), PIXELS[::-1, ::-1], 0),
    "quarter turn": (v2.RandomRotation((90, 90), expand=True), np.rot90(PIXELS), 0),
    "third quarter": (v2.RandomRotation((270, 270), expand=True), np.rot90(PIXELS, 3), 0),
    "whole crop": (v2.RandomCrop((20, 30)), PIXELS, 0),
    "gray": (v2.Grayscale(), GRAY, 1),
    "gray in three": (v2.Grayscale(3), GRAY.convert("RGB"), 1),
    "random gray": (v2.RandomGrayscale(1.0), GRAY.convert("RGB"), 1),
    "identity": (v2.Identity(), PIXELS, 0),
    "lambda": (v2.Lambda(F.hflip), PIXELS[:, ::-1], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry(name):
    transform, want, off = GEOMETRY[name]
    want = array(want).astype(int)
    got = transform(PIL)
    assert isinstance(got, Image.Image)
    assert np.abs(array(got).astype(int) - want).max() <= (off if "gray" in name else 0)
    numbers = () if name in ("pad colour", "pad number") else (FLOATS, FLOATS.to(tk.float64))
    for x in (BYTES, *numbers):
        y = transform(x)
        assert y.dtype is x.dtype
        scale = 1 if x.dtype is tk.uint8 else 255
        loose = off + 0.01 if scale == 255 or off else 0
        limit = 2.01 if "bicubic" in name and off else loose  # Floats leave [0, 1], bytes may not.
        got = np.clip(array(y) * float(scale), 0, 255)
        assert np.abs(got - want).max() <= limit
    many = transform(tk.stack([BYTES, BYTES]))
    np.testing.assert_array_equal(many[1].numpy(), transform(BYTES).numpy())


@pytest.mark.parametrize("angle", [0, 17, -33.5, 90, 200])
@pytest.mark.parametrize("options", [{}, {"expand": True}, {"center": (5, 9)}, {"fill": [9, 8, 7]}])
def test_rotation_beside_pillow(angle, options):
    """Nearest pixels are Pillow's but for ties; of a smooth image even those hardly differ."""
    image = Image.fromarray(SMOOTH)
    turned = F.rotate(image, angle, **options)
    fill = options.get("fill")
    keep = {k: v for k, v in options.items() if k != "fill"}
    want = image.rotate(angle, P.NEAREST, fillcolor=tuple(fill) if fill else None, **keep)
    assert np.array_equal(np.asarray(turned), np.asarray(want))
    got = array(F.rotate(v2.ToImage()(image), angle, **options)).astype(int)
    assert np.abs(got.shape[0] - want.size[1]) <= 1 and np.abs(got.shape[1] - want.size[0]) <= 1
    if got.shape == np.asarray(want).shape:
        assert (np.abs(got - np.asarray(want)).max(-1) > 20).mean() < 0.02


@pytest.mark.parametrize(
    ("name", "factor", "pillow"),
    [
        ("brightness", 0.4, ImageEnhance.Brightness),
        ("brightness", 1.7, ImageEnhance.Brightness),
        ("contrast", 0.3, ImageEnhance.Contrast),
        ("contrast", 1.6, ImageEnhance.Contrast),
        ("saturation", 0.0, ImageEnhance.Color),
        ("saturation", 0.5, ImageEnhance.Color),
        ("saturation", 2.0, ImageEnhance.Color),
    ],
)
def test_colours_beside_pillow(name, factor, pillow):
    change = getattr(F, f"adjust_{name}")
    want = np.asarray(pillow(PIL).enhance(factor)).astype(int)
    assert np.array_equal(np.asarray(change(PIL, factor)), want)
    for x in (BYTES, FLOATS):
        got = array(change(x, factor)) * (1.0 if x.dtype is tk.uint8 else 255.0)
        assert np.abs(got - want).max() <= 3.01
    assert np.abs(change(BYTES, 1.0).numpy().astype(int) - BYTES.numpy()).max() <= 1


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.1, 0.33, 0.5])
def test_hue_beside_colorsys(turn):
    import colorsys

    def turned(rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)

    want = np.apply_along_axis(turned, 2, PIXELS / 255)
    np.testing.assert_allclose(array(F.adjust_hue(FLOATS, turn)), want, atol=2e-6)
    assert np.abs(array(F.adjust_hue(BYTES, turn)) - want * 255).max() <= 1.01
    assert np.abs(array(F.adjust_hue(PIL, turn)) - want * 255).max() <= 14  # Hues of 8 bits.


def test_blur_beside_its_definition():
    got = array(F.gaussian_blur(FLOATS, [5, 3], [1.2, 0.7]))
    x = np.pad(PIXELS / 255, ((1, 1), (2, 2), (0, 0)), "reflect")
    weights = [np.exp(-0.5 * (np.arange(-n, n + 1) / s) ** 2) for n, s in ((1, 0.7), (2, 1.2))]
    window = np.outer(*(w / w.sum() for w in weights))
    want = sum(window[i, j] * x[i : i + 20, j : j + 30] for i in range(3) for j in range(5))
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(array(v2.GaussianBlur(3)(PIL)).astype(int) - PIXELS).max() > 0


# -- what is drawn --------------------------------------------------------------------------------


def part_of(part, whole):
    """Where a part lies in an image, or None."""
    h, w = part.shape[:2]
    places = ((i, j) for i in range(whole.shape[0] - h + 1) for j in range(whole.shape[1] - w + 1))
    return next(
        (p for p in places if np.array_equal(whole[p[0] : p[0] + h, p[1] : p[1] + w], part)), None
    )


def test_random_crops_are_parts_anywhere():
    tk.manual_seed(0)
    padded = np.pad(PIXELS, ((4, 4), (4, 4), (0, 0)))
    found = {
        part_of(array(v2.RandomCrop((20, 30), padding=4)(x)), padded) for x in [PIL, BYTES] * 60
    }
    assert None not in found and len(found) > 50
    rows, columns = {p[0] for p in found}, {p[1] for p in found}
    assert rows == columns == set(range(9))
    small = v2.RandomCrop(32, pad_if_needed=True)(PIL)
    assert small.size == (32, 32)
    top, left, height, width = v2.RandomCrop.get_params(PIL, (5, 6))
    assert (height, width) == (5, 6) and 0 <= top <= 15 and 0 <= left <= 24


def test_random_resized_crops_are_within_their_ranges():
    tk.manual_seed(0)
    shares, shapes = [], []
    for _ in range(300):
        _, _, h, w = v2.RandomResizedCrop.get_params(
            Image.new("L", (400, 300)), (0.1, 0.6), (0.5, 2)
        )
        shares.append(h * w / 120_000)
        shapes.append(w / h)
    assert 0.09 < min(shares) < 0.15 and 0.5 < max(shares) < 0.61
    assert 0.49 < min(shapes) < 0.6 and 1.6 < max(shapes) < 2.02
    for x in (PIL, BYTES):
        assert array(v2.RandomResizedCrop(7)(x)).shape == (7, 7, 3)
    assert v2.RandomResizedCrop.get_params(Image.new("L", (900, 10)), (0.9, 1), (1, 1))[2:] == (
        10,
        10,
    )


def test_erasing():
    tk.manual_seed(0)
    white = tk.ones(3, 40, 50)
    shares, kept = [], 0
    for _ in range(200):
        y = v2.RandomErasing(value=[0.1, 0.2, 0.3])(white).numpy()
        hole = (y != 1).all(0)
        kept += not hole.any()
        if hole.any():
            rows, columns = hole.any(1).sum(), hole.any(0).sum()
            assert rows * columns == hole.sum()
            np.testing.assert_allclose(y[:, hole], np.tile([[0.1], [0.2], [0.3]], hole.sum()))
            shares.append(hole.mean())
    assert 60 < kept < 140 and min(shares) > 0.01 and max(shares) < 0.35
    noise = v2.RandomErasing(1.0, value="random")(white).numpy()
    assert len(np.unique(noise)) > 20


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_probabilities(p):
    tk.manual_seed(1)
    n = 600
    share = sum(v2.RandomHorizontalFlip(p)(PIL) is not PIL for _ in range(n)) / n
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)
    share = sum(v2.RandomApply([v2.Pad(1)], p)(PIL) is not PIL for _ in range(n)) / n
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)
    chosen = v2.RandomChoice([v2.Pad(1), v2.Pad(2)], [p, 1 - p])
    share = sum(chosen(GRAY).size == (32, 22) for _ in range(n)) / n
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)
    sizes = {v2.RandomOrder([v2.Pad(3), v2.Resize(9)])(PIL).size for _ in range(30)}
    assert len(sizes) == 2


JITTER = v2.Compose([
    v2.ColorJitter(0.4, 0.4, 0.4, 0.2), v2.RandomRotation(20), v2.RandomResizedCrop(16),
    v2.RandAugment(), v2.RandomHorizontalFlip(), v2.ToTensor(), v2.RandomErasing(),
])  # fmt: skip


class Jittered(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return JITTER(Image.fromarray(SMOOTH)), i


def test_what_is_drawn_follows_the_seed():
    def draw(seed):
        tk.manual_seed(seed)
        return np.stack([JITTER(Image.fromarray(SMOOTH)).numpy() for _ in range(8)])

    a = draw(3)
    assert np.array_equal(a, draw(3)) and not np.array_equal(a, draw(4))
    assert len({x.tobytes() for x in a}) == 8

    def load(seed):
        tk.manual_seed(seed)
        return np.concatenate([x.numpy() for x, _ in DataLoader(Jittered(), 4, num_workers=2)])

    b = load(3)
    assert np.array_equal(b, load(3)) and not np.array_equal(b, load(4))
    assert len({x.tobytes() for x in b}) == 12


@pytest.mark.parametrize("kind", ["pil", "tensor"])
def test_rand_augment_has_all_its_operations(kind):
    from toolkit.data.transforms.auto import _STRENGTHS, augment

    image = Image.fromarray(SMOOTH)
    for name in _STRENGTHS:
        value = {
            "Posterize": 3,
            "Solarize": 0.4,
            "TranslateX": 9,
            "TranslateY": -9,
            "Rotate": 9,
        }.get(name, 0.3)
        got = np.asarray(augment(image, name, value, v2.InterpolationMode.NEAREST, None))
        assert got.shape == SMOOTH.shape and (name == "Identity") == np.array_equal(got, SMOOTH)
    moved = np.asarray(augment(image, "TranslateX", 9, v2.InterpolationMode.NEAREST, None))
    assert np.array_equal(moved[:, 9:], SMOOTH[:, :-9])
    tk.manual_seed(0)
    x = image if kind == "pil" else v2.ToImage()(image)
    assert len({array(v2.RandAugment()(x)).tobytes() for _ in range(12)}) > 6


# -- samples --------------------------------------------------------------------------------------


def test_samples_keep_their_labels_and_share_what_is_drawn():
    flip = v2.RandomHorizontalFlip(1.0)
    image, label = flip(PIL, 3)
    assert label == 3 and np.array_equal(np.asarray(image), PIXELS[:, ::-1])
    x = tk.arange(4)
    out = flip({"a": BYTES, "label": x, "n": ("text", 2.0)})
    assert out["label"] is x and out["n"] == ("text", 2.0)
    assert np.array_equal(array(out["a"]), PIXELS[:, ::-1])
    image, target = v2.RandomHorizontalFlip(1.0)((PIL, tk.tensor([1, 2])))
    assert target.tolist() == [1, 2] and image is not PIL
    crop = v2.RandomCrop(6)
    first, second = crop([PIL, PIL])
    assert np.array_equal(np.asarray(first), np.asarray(second))
    both = v2.Compose(
        [v2.ToImage(), v2.ToDtype(tk.float32, scale=True), v2.Normalize([0.5], [0.5])]
    )
    image, label = both(PIL, 7)
    assert label == 7 and image.dtype is tk.float32 and "Normalize(mean=[0.5]" in repr(both)


# -- in a model -----------------------------------------------------------------------------------


def test_preprocessing_in_the_saved_model(tmp_path):
    """Bytes of any number of pictures go into the file; what is drawn cannot be traced."""
    before = v2.Compose([
        v2.ToDtype(tk.float32, scale=True), v2.Resize((12, 12)), v2.CenterCrop(10),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    net = nn.Sequential(before, nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 64, 5))
    images = tk.stack([BYTES, BYTES.flip(-1)])
    want = net(images).detach().numpy()
    net.eval().save(tmp_path / "a.onnx", inputs=images, dynamic={"input": {0: "batch"}})
    from onnxruntime import InferenceSession as Other

    for session in (Other(tmp_path / "a.onnx"), InferenceSession(tmp_path / "a.onnx")):
        name = session.get_inputs()[0].name
        got = session.run(None, {name: images.numpy()})[0]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
        assert session.run(None, {name: images.numpy()[:1]})[0].shape == (1, 5)
    with pytest.raises(DataDependentError, match="random transforms outside a trace"):
        nn.Sequential(v2.RandomCrop(8)).save(tmp_path / "b.onnx", inputs=images)


TRACED = {
    "resize": v2.Resize((12, 13)),
    "resize to the example's size": v2.Resize((20, 30)),
    "pad": v2.Pad(2),
    "gray": v2.Grayscale(),
    "flip": v2.Lambda(F.hflip),
    "normalize": v2.Compose([v2.ToDtype(tk.float32, scale=True), v2.Normalize([0.5], [0.2])]),
    "brightness": v2.Lambda(lambda x: F.adjust_brightness(x, 1.5)),
    "contrast": v2.Lambda(lambda x: F.adjust_contrast(x, 0.5)),
    "saturation": v2.Lambda(lambda x: F.adjust_saturation(x, 0.5)),
    "hue": v2.Lambda(lambda x: F.adjust_hue(x, 0.1)),
    "blur": v2.Lambda(lambda x: F.gaussian_blur(x, 3)),
}


@pytest.mark.parametrize("name", TRACED)
def test_traced_with_sizes_that_stay_open(name, tmp_path):
    images = tk.stack([BYTES, BYTES.flip(-1)])
    sizes = {0: "batch", 2: "height", 3: "width"}
    nn.Sequential(TRACED[name]).save(tmp_path / "a.onnx", inputs=images, dynamic={"input": sizes})
    session = InferenceSession(tmp_path / "a.onnx")
    for x in (images, images[:1, :, :14, :17].clone()):
        got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        want = TRACED[name](x).numpy()
        assert got.shape == want.shape and np.abs(got.astype(float) - want).max() <= 1e-5


@pytest.mark.parametrize("transform", [v2.Resize(12), v2.CenterCrop(10), v2.RandomRotation((9, 9))])
def test_what_needs_the_size_says_so(transform, tmp_path):
    with pytest.raises(DataDependentError):
        nn.Sequential(transform).save(
            tmp_path / "a.onnx", inputs=BYTES[None], dynamic={"input": {2: "h", 3: "w"}}
        )


# -- what is refused ------------------------------------------------------------------------------

BAD = {
    "size": (lambda: v2.Resize((1, 2, 3)), ValueError, "two of them are required as size"),
    "size type": (lambda: v2.Resize("big"), ValueError, "are required as size"),
    "sizes": (lambda: v2.Resize((3, 4), max_size=5), ValueError, "max_size=None is required"),
    "no size": (lambda: v2.Resize(None), ValueError, "size or max_size is required"),
    "max_size": (lambda: v2.Resize(9, max_size=9), ValueError, "max_size above size 9"),
    "mode": (lambda: v2.Resize(9, "linear"), ValueError, "one of nearest"),
    "lanczos": (lambda: v2.Resize((3, 3), "lanczos")(BYTES), ValueError, "required of a tensor"),
    "crop": (lambda: v2.RandomCrop(40)(PIL), ValueError, "at least 40x40 .* got 20x30"),
    "padding": (lambda: v2.Pad((1, 2, 3)), ValueError, "2 or 4 of them are required as padding"),
    "padding mode": (lambda: v2.Pad(1, padding_mode="wrap")(PIL), ValueError, "padding_mode"),
    "p": (lambda: v2.RandomHorizontalFlip(1.5), ValueError, r"probability in \[0, 1\]"),
    "degrees": (lambda: v2.RandomRotation(-1), ValueError, "degrees >= 0"),
    "degrees pair": (lambda: v2.RandomRotation((9, 3)), ValueError, "an ordered range"),
    "hue": (lambda: v2.ColorJitter(hue=0.6), ValueError, r"hue within \[-0.5, 0.5\]"),
    "brightness": (lambda: v2.ColorJitter(brightness=(-1, 1)), ValueError, "ordered range"),
    "factor": (lambda: F.adjust_contrast(PIL, -1), ValueError, "a factor >= 0"),
    "std": (lambda: v2.Normalize([0.5], [0.0]), ValueError, "no 0 in std"),
    "normalize bytes": (
        lambda: v2.Normalize([0.5], [1.0])(BYTES),
        TypeError,
        "got .*uint8.*ToDtype",
    ),
    "normalize pillow": (lambda: v2.Normalize([0.5], [1.0])(PIL), TypeError, "a float tensor"),
    "erase pillow": (lambda: v2.RandomErasing(1.0)(PIL), TypeError, "a tensor is required"),
    "erase value": (lambda: v2.RandomErasing(value="noise"), ValueError, "'random' is required"),
    "erase values": (lambda: v2.RandomErasing(1.0, value=[1, 2])(FLOATS), ValueError, "1 or 3 num"),
    "text": (lambda: v2.Resize(9)("a"), TypeError, "an image is required, got str"),
    "to_tensor": (lambda: v2.ToTensor()(3), TypeError, "got int"),
    "planes": (lambda: v2.ToTensor()(np.zeros((2, 2, 2, 2))), ValueError, "2 or 3 dimensions"),
    "gray": (lambda: v2.Grayscale(2)(PIL), ValueError, "1 or 3 channels"),
    "two channels": (lambda: v2.Grayscale()(FLOATS[:2]), ValueError, "got 2"),
    "kernel": (lambda: F.gaussian_blur(FLOATS, 4), ValueError, "odd sizes"),
    "magnitude": (lambda: v2.RandAugment(magnitude=31), ValueError, r"\[0, 31\)"),
    "augment floats": (lambda: v2.RandAugment()(FLOATS), ValueError, "uint8 is required"),
    "compose": (lambda: v2.Compose(3), TypeError, "a sequence of transforms"),
    "compose nothing": (lambda: v2.Compose([]), ValueError, "at least one"),
    "choice": (lambda: v2.RandomChoice([v2.Pad(1)], [1, 2]), ValueError, "1 probabilities"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    call, kind, match = BAD[name]
    with pytest.raises(kind, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_other_modes_of_pillow():
    for mode in ("L", "LA", "RGBA", "I;16", "F", "I"):
        image = PIL.convert("L") if mode in ("I;16",) else PIL.convert("I" if mode == "I" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        x = v2.ToImage()(image)
        assert np.array_equal(array(x), array(image)), mode
    buffer = io.BytesIO()
    PIL.save(buffer, "png")
    opened = Image.open(buffer)  # Not yet decoded: a subclass of Image.
    assert np.array_equal(array(v2.Resize((20, 30))(opened)), PIXELS)
    assert np.array_equal(array(v2.ToTensor()(opened)), array(FLOATS))
