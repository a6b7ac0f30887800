"""WAV files: beside scipy and the wave module, and what is said of broken ones."""

from __future__ import annotations

import struct
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from toolkit.cli.main import main
from toolkit.data import DataLoader, load
from toolkit.data.audio import read_wav, wav_header
from toolkit.errors import InvalidArgumentError

RNG = np.random.default_rng(0)


def write(path, x, width=2, rate=8000):
    """Frames (n, channels) of whole numbers, by Python's own module."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(x.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        if width == 3:
            raw = x.astype("<i4").tobytes()
            file.writeframes(b"".join(raw[i : i + 3] for i in range(0, len(raw), 4)))
        else:
            file.writeframes(x.tobytes())
    return path


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers(tmp_path, width, channels):
    low, high = (0, 256) if width == 1 else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1))
    x = RNG.integers(low, high, (50, channels)).astype(["u1", "<i2", "<i4", "<i4"][width - 1])
    x[:2, 0] = low, high - 1
    rate, got = read_wav(write(tmp_path / "a.wav", x, width))
    want = (x.astype(float) - (128 if width == 1 else 0)) / 2 ** (8 * width - 1)
    assert rate == 8000 and got.shape == (channels, 50) and got.dtype == np.float32
    np.testing.assert_allclose(got, want.T, rtol=1e-6)
    scipy_rate, theirs = wavfile.read(tmp_path / "a.wav")
    shift = 8 if width == 3 else 0  # scipy puts 24 bits into the upper ones of 32.
    assert scipy_rate == rate and np.array_equal(
        theirs.reshape(50, -1), x.astype(theirs.dtype) << shift
    )
    assert np.array_equal(read_wav(tmp_path / "a.wav", 7)[1], got[:, :7])


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats(tmp_path, dtype):
    x = RNG.standard_normal((30, 2)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 44100, x)
    rate, got = read_wav(tmp_path / "a.wav")
    assert rate == 44100 and np.array_equal(got, x.T.astype(np.float32))


def riff(*chunks):
    body = b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(tag=1, channels=1, rate=8000, bits=16, block=None, more=b""):
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + more


DATA = np.arange(10, dtype="<i2").tobytes()


def test_other_chunks_and_the_extensible_format(tmp_path):
    guid = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    file = riff((b"LIST", b"abc"), (b"fmt ", form(0xFFFE, more=guid)), (b"fact", bytes(4)),
                (b"data", DATA), (b"tail", b"x"))  # fmt: skip
    (tmp_path / "a.wav").write_bytes(file)
    assert (read_wav(tmp_path / "a.wav")[1] * 32768).tolist() == [list(range(10))]
    (tmp_path / "a.wav").write_bytes(riff((b"fmt ", form()), (b"data", b"")))
    assert read_wav(tmp_path / "a.wav")[1].shape == (1, 0)


BROKEN = {
    "empty": (b"", "a WAV file is required, got one that begins with ''"),
    "magic": (b"RIFX" + bytes(40), "a WAV file is required"),
    "other RIFF": (riff().replace(b"WAVE", b"AVI "), "a WAV file is required"),
    "no data": (riff((b"fmt ", form())), "a data chunk is required, got none"),
    "no format": (riff((b"data", DATA)), "a fmt chunk before the data"),
    "short format": (riff((b"fmt ", form()[:9]), (b"data", DATA)), "16 bytes of format .* got 9"),
    "compressed": (riff((b"fmt ", form(tag=85)), (b"data", DATA)), "got format 85 of 16 bits"),
    "bits": (riff((b"fmt ", form(bits=12)), (b"data", DATA)), "got format 1 of 12 bits"),
    "block": (riff((b"fmt ", form(block=3)), (b"data", DATA)), "3 bytes a frame"),
    "no channels": (riff((b"fmt ", form(channels=0)), (b"data", DATA)), "got 0 channels"),
    "truncated": (riff((b"fmt ", form()), (b"data", DATA))[:-3], "20 bytes of sound .* got 17"),
    "absurd": (riff((b"fmt ", form()), (b"data", DATA)).replace(struct.pack("<I", 20), b"\xff" * 4),
               "4294967295 bytes of sound are required by the header, got 20"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path, name):
    data, match = BROKEN[name]
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(InvalidArgumentError, match=match) as caught:
        wav_header(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="a readable file is required"):
        wav_header(tmp_path / "none.wav")


@pytest.fixture
def folder(tmp_path):
    """Low and high tones of 200 to 207 frames."""
    for i in range(10):
        kind, turn = ("low", 0.05) if i % 2 else ("high", 1.0)
        (tmp_path / "in" / kind).mkdir(parents=True, exist_ok=True)
        tone = np.sin(turn * np.arange(200 + i % 8))[:, None] * [1, 0.5]
        write(tmp_path / "in" / kind / f"{i}.wav", (tone * 32000).astype("<i2"))
    return tmp_path / "in"


def test_folders(folder, tmp_path):
    data = load(f"wav:{folder}?length=204&channels=mono")
    assert data.meta.classes == ("high", "low") and data.meta.input_shape == (1, 204)
    assert (len(data.train), len(data.test)) == (8, 2)
    x, y = next(iter(DataLoader(data.train, batch_size=8, num_workers=1)))
    assert x.shape == (8, 1, 204) and sorted(y.tolist()) == sorted(data.labels.tolist())
    for sound, path in zip(x.numpy(), data.train.paths, strict=True):
        _, whole = read_wav(path)
        want = np.pad(whole.mean(0), (0, 4))[:204]
        assert np.array_equal(sound[0], want)
    listed = tmp_path / "list.csv"
    lines = [f"{k}/{i}.wav,{k}" for i in range(10) for k in (("low",) if i % 2 else ("high",))]
    listed.write_text("path,label\n" + "\n".join(lines))
    assert load(f"wav:{listed}?root={folder}&length=9").meta.input_shape == (2, 9)
    with pytest.raises(InvalidArgumentError, match=r"sounds of one length .*Give length="):
        list(DataLoader(load(f"wav:{folder}").train))
    with pytest.raises(
        InvalidArgumentError, match=r"channels at rate 9 are required, got 2 at 8000"
    ):
        list(DataLoader(load(f"wav:{folder}?length=9&rate=9").train))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match="a folder with WAV files for each class"):
        load(f"wav:{tmp_path / 'empty'}")


def test_at_the_prompt(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(
            [
                "train",
                "mlp",
                "--data",
                f"wav:{folder}?length=64",
                "--epochs",
                "1",
                "-o",
                "run",
                "-q",
            ]
        )
    assert end.value.code == 0 and (tmp_path / "run" / "last.onnx").exists()
