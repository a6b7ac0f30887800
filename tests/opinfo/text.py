"""Text operators, n-grams and image decoding."""

from __future__ import annotations

import io

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample, by_onnxruntime

STRING = ("string",)


def strings(*items: str) -> np.ndarray:
    return np.array(items, object)


def concat_samples(d):
    for a, b in (((7,), (7,)), ((2, 3), (3,)), ((3, 1), (1, 4)), ((), (2, 2)), ((0,), (1,)), ((2, 0, 3), (1, 3))):  # fmt: skip
        yield S(d(*a), d(*b))


SENTENCES = strings("a b  c", "", "  x ", "one", "a,b,,c", ",", "tab\tnew\nline", "é à", "a  b ",
                    "　wide space", "no-break space", "--", "a---b")  # fmt: skip


def split_samples(d):
    for attributes in (
        {},
        {"delimiter": ""},
        {"delimiter": ","},
        {"delimiter": "--"},
        {"delimiter": " "},
    ):
        for limit in ({}, {"maxsplit": 0}, {"maxsplit": 1}, {"maxsplit": 2}):
            yield S(SENTENCES, outputs=2, **attributes, **limit)
    yield S(SENTENCES[:12].reshape(3, 4), outputs=2)
    yield S(strings().reshape(2, 0), outputs=2)
    yield S(strings("", ""), outputs=2)


def normalizer_samples(d):
    words = strings("monday", "Tuesday", "MONDAY", "", "two words", "Été", "ß")
    for action in ("NONE", "LOWER", "UPPER"):
        for sensitive in (0, 1):
            for stop in ([], ["monday"], ["Monday", "été"], [""]):
                attributes = {"stopwords": stop} if stop else {}
                yield S(words, case_change_action=action, is_case_sensitive=sensitive, **attributes)
    yield S(words[None], stopwords=["monday", "Tuesday"], is_case_sensitive=1)
    yield S(words[:1], stopwords=["monday"], is_case_sensitive=1)
    yield S(words[None, :1], stopwords=["monday"], is_case_sensitive=1)
    yield S(strings("Iris", "ılık", "İzmir"), case_change_action="LOWER", locale="tr_TR.UTF-8")
    yield S(strings("iris", "ılık"), case_change_action="UPPER", locale="tr_TR.UTF-8")


def normalizer(sample: Sample) -> list[np.ndarray]:
    """By hand: the specification's words, element by element."""
    (x,) = sample.inputs
    a = sample.attributes
    turkish = a.get("locale", "").startswith("tr")

    def lower(s: str) -> str:
        return "".join({"I": "ı", "İ": "i"}.get(c, c.lower()) if turkish else c.lower() for c in s)

    def upper(s: str) -> str:
        return "".join({"i": "İ", "ı": "I"}.get(c, c.upper()) if turkish else c.upper() for c in s)

    stop = a.get("stopwords", [])
    if not a.get("is_case_sensitive", 0):
        kept = [w for w in x.ravel() if lower(w) not in [lower(s) for s in stop]]
    else:
        kept = [w for w in x.ravel() if w not in stop]
    change = {"NONE": lambda s: s, "LOWER": lower, "UPPER": upper}
    y = strings(*(change[a.get("case_change_action", "NONE")](w) for w in kept or [""]))
    return [y[None] if x.ndim == 2 else y]


def regex_samples(d):
    x = strings("www.google.com", "", "a\nb", "account@gmail.com", "Account@x", "1", "é")
    for pattern in (r"www\.[\w.-]+\.\bcom\b", r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)", "", ".*", "(?s).*",
                    "(?i)account.*", r"\d?", "[^a-z]*"):  # fmt: skip
        yield S(x, pattern=pattern)
    yield S(d(2, 3), pattern="[a-z]+")
    yield S(d(0), pattern="a")


GRAMS = {"ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6]}
NUMBERS_POOL = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]
WORD_POOL = ["", "a", "B", "é", "a", "B", "word", "a", "é", "é"]


def tfidf_samples(d):
    """The pool's items are those that `draw` makes."""
    pool = {"pool_strings": WORD_POOL} if d.dtype == object else {"pool_int64s": NUMBERS_POOL}
    draw = d if d.dtype == object else (lambda *shape: abs(d(*shape)))
    for mode in ("TF", "IDF", "TFIDF"):
        for low, high in ((1, 1), (1, 2), (2, 2)):
            for skip in (0, 1, 5):
                yield S(draw(3, 40), mode=mode, min_gram_length=low, max_gram_length=high, max_skip_count=skip,
                        **GRAMS, **pool)  # fmt: skip
        weights = [float(x) for x in np.linspace(0.5, 2, 7)]
        yield S(draw(40), mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=1, weights=weights,
                **GRAMS, **pool)  # fmt: skip
    attributes = {"mode": "TF", "min_gram_length": 2, "max_gram_length": 3, "max_skip_count": 2}
    counts = {"ngram_counts": [0, 4, 4], "ngram_indexes": [6, 5, 4, 3, 0, 9]}
    yield S(draw(2, 40), **attributes, **counts, **pool)
    yield S(draw(0), **attributes, **counts, **pool)


def pictures():
    """(name of the format, array of (H, W, 3)), losslessly encoded."""
    from PIL import Image

    rng = np.random.default_rng(7)
    picture = rng.integers(0, 256, (17, 23, 3), np.uint8)
    for kind, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True}),
                          ("JPEG2000", {"irreversible": False})):  # fmt: skip
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, kind, **options)
        yield kind, picture, np.frombuffer(buffer.getvalue(), np.uint8)


def decoder_samples(d):
    for _, _, encoded in pictures():
        for pixels in ("RGB", "BGR", "Grayscale"):
            yield S(encoded, pixel_format=pixels)
    yield S(np.frombuffer(b"no image", np.uint8))
    yield S(np.zeros(0, np.uint8), pixel_format="Grayscale")


def decoder(sample: Sample) -> list[np.ndarray]:
    pixels = sample.attributes.get("pixel_format", "RGB")
    for _, picture, encoded in pictures():
        if encoded.tobytes() == sample.inputs[0].tobytes():
            if pixels == "Grayscale":  # ITU-R 601-2, as Pillow's documentation has it.
                r, g, b = (picture[..., i].astype(np.int64) for i in range(3))
                return [
                    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16).astype(np.uint8)[..., None]
                ]
            return [picture[..., ::-1] if pixels == "BGR" else picture]
    return [np.zeros((0, 0, 1 if pixels == "Grayscale" else 3), np.uint8)]


ROWS = [
    OpInfo("StringConcat", concat_samples, dtypes=STRING),
    OpInfo("StringSplit", split_samples, dtypes=STRING),
    OpInfo("StringNormalizer", normalizer_samples, dtypes=STRING, reference=normalizer,
           why="it strips accents and drops words within elements"),
    OpInfo("RegexFullMatch", regex_samples, dtypes=STRING),
    OpInfo("TfIdfVectorizer", tfidf_samples, dtypes=("int32", "int64", "string"), reference=by_onnxruntime("TfIdfVectorizer"),
           why="it cannot do without weights"),
    OpInfo("ImageDecoder", decoder_samples, dtypes=("uint8",), reference=decoder,
           why="it gives no array for what is no image"),
]  # fmt: skip
