"""Resuming from the newest checkpoint that is whole, and ending a run by a signal."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import numpy as np
import pytest

from tests.train.test_trainer import final_bits, loader, make_trainer
from toolkit import errors
from toolkit.train import Callback


@pytest.fixture
def run(tmp_path):
    """A folder of a run of two epochs with older checkpoints."""
    make_trainer(tmp_path / "run", checkpoint_every=2, keep_checkpoints=4).fit(loader(), None, 2)
    return tmp_path / "run"


def whole(tmp_path):
    make_trainer(tmp_path / "whole").fit(loader(), None, 3)
    return final_bits(tmp_path / "whole")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_a_half_written_checkpoint_is_passed_over(run, tmp_path, keep):
    """The run goes on from the one before it, to the bits of a run that was not disturbed."""
    last = run / "last.onnx"
    data = last.read_bytes()
    last.write_bytes(data[: int(len(data) * keep)])
    (run / "best.onnx").unlink()
    trainer = make_trainer(run)
    with pytest.warns(errors.ToolkitWarning, match=r"resume: passed over: .*last\.onnx"):
        assert trainer.resume("auto") == run / "step-00000010.onnx"
    assert trainer.position.place == (1, 4)
    trainer.fit(loader(), None, 3)
    assert final_bits(run) == whole(tmp_path)


def test_a_flipped_bit_in_a_weight_is_seen(run):
    data = bytearray((run / "last.onnx").read_bytes())
    weight = make_trainer(None).step
    resumed = make_trainer(run)
    resumed.resume()
    weight = resumed.step
    weight.prepare(*next(iter(loader())))
    place = bytes(data).find(weight.state_dict()["0.weight"].tobytes())
    assert place > 0
    data[place + 5] ^= 1
    (run / "last.onnx").write_bytes(data)
    with pytest.raises(errors.InvalidModelError, match="checksum"):
        make_trainer(run).resume(run / "last.onnx")
    (run / "best.onnx").unlink()
    with pytest.warns(errors.ToolkitWarning, match="checksum"):
        assert make_trainer(run).resume().name == "step-00000010.onnx"


def test_nothing_to_resume_from(tmp_path):
    assert make_trainer(None).resume() is None
    assert make_trainer(tmp_path / "none").resume() is None
    (tmp_path / "last.onnx").write_bytes(b"")
    with pytest.warns(errors.ToolkitWarning, match="passed over"):
        assert make_trainer(tmp_path).resume() is None


def test_a_checkpoint_of_another_model_is_an_error(run):
    from toolkit import nn, optim
    from toolkit.train import Trainer, TrainStep

    net = nn.Linear(6, 2)
    trainer = Trainer(
        TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), 0.1)),
        run_dir=run, progress=False,
    )  # fmt: skip
    trainer.resume()
    with pytest.raises(errors.InvalidArgumentError, match="the same states are required"):
        trainer.fit(loader(), None, 3)


def test_the_best_is_a_checkpoint_too(tmp_path):
    """Also with an average of the weights, which it infers with."""

    def trainer(folder):
        made = make_trainer(folder)
        made.step.ema_decay = 0.9
        return made

    trainer(tmp_path / "a").fit(loader(), None, 4)
    made = trainer(tmp_path / "b")
    made.fit(loader(), None, 2)
    (tmp_path / "b" / "last.onnx").unlink()
    made = trainer(tmp_path / "b")
    assert made.resume().name == "best.onnx"
    made.fit(loader(), None, 4)
    assert final_bits(tmp_path / "a") == final_bits(tmp_path / "b")


class Kill(Callback):
    """Sends this process a signal after a number of batches, or in an evaluation."""

    def __init__(self, number, after):
        self.number, self.after = number, after

    def on_batch_end(self, trainer, batch):
        if trainer.position.batches == self.after:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(tmp_path, number):
    trainer = make_trainer(tmp_path / "cut", callbacks=[Kill(number, 8)])
    history = trainer.fit(loader(), loader(32, 32), 3)
    assert trainer.interrupted and history.stopped == "interrupted" and len(history.rows) == 1
    assert trainer.position.place == (1, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = make_trainer(tmp_path / "cut")
    assert resumed.resume().name == "last.onnx"
    resumed.fit(loader(), loader(32, 32), 3)
    assert not resumed.interrupted
    make_trainer(tmp_path / "whole").fit(loader(), loader(32, 32), 3)
    assert final_bits(tmp_path / "whole") == final_bits(tmp_path / "cut")


@pytest.mark.parametrize("every", ["2 steps", "1 epochs"])
def test_a_signal_in_an_evaluation(tmp_path, every):
    """It is done again by the resumed run, whose log is that of one in one go."""

    class Val:
        def __init__(self, kills):
            self.kills = kills

        def __iter__(self):
            for i, batch in enumerate(loader(32, 8)):
                if self.kills and i == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

    cut = make_trainer(tmp_path / "cut", eval_every=every)
    first = cut.fit(loader(), Val(True), 2)
    assert first.evaluations == [] and first.rows == []
    resumed = make_trainer(tmp_path / "cut", eval_every=every)
    resumed.resume()
    history = resumed.fit(loader(), Val(False), 2)
    want = make_trainer(tmp_path / "whole", eval_every=every).fit(loader(), Val(False), 2)
    assert history.evaluations == want.evaluations
    for got, row in zip(history.rows, want.rows, strict=True):
        assert {**got, "seconds": 0} == {**row, "seconds": 0}


def test_a_second_signal_acts_as_ever():
    class Twice(Callback):
        def on_batch_end(self, trainer, batch):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(None, callbacks=[Twice()]).fit(loader())


def test_handlers_of_the_program_stay():
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        make_trainer(None, callbacks=[Kill(signal.SIGTERM, 2)]).fit(loader())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == [1]


def test_training_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(make_trainer(None).fit(loader())))
    with warnings.catch_warnings():
        thread.start()
        thread.join()
    assert len(found[0].rows) == 1 and np.isfinite(found[0].last["loss"])
