"""A training that diverges stops, keeps the weights of its best step and says so."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from learner import ROWS
from withstand.core import stage
from withstand.core.stage import How, TrainingError
from withstand.registry import find
from withstand.runner import chain
from withstand.training import _diverge
from withstand.training.sft import SFT

pytest.importorskip("trl")
pytest.importorskip("datasets")
from safetensors.torch import load_file

LORA = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=8, max_length=32, log_every=1, save_every=1)
FULL = replace(LORA, method="full", lr=1e-3)


def course(tmp_path, losses, most=10):
    """A course that has taken in the losses, and the steps whose weights it has saved."""
    saved = []
    taken = _diverge.Course(tmp_path, lambda folder: (folder.mkdir(parents=True), saved.append(int(folder.name[5:]))))
    for step, loss in enumerate(losses):
        taken.add(loss, step, most)
    return taken, saved


def test_the_rule_is_a_mean_far_above_the_first_or_no_number(tmp_path):
    taken, saved = course(tmp_path / "a", [2, 2, 2, 2, 2, 1, 1, 1, 1, 1])
    assert (taken.why, saved, taken.best[1:]) == ("", [1, 5, 6, 7, 8, 9], (9, 1))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["best-9"]  # one at a time
    for name, losses, why in (
        ("b", [1, 2, math.nan, 1], "the loss is nan at step 3 of 10"),
        ("c", [1] * 5 + [2, 3, 40, 41], "the mean loss of 5 steps rose from 1 to 9.4 at step 8 of 10"),
        ("d", [0.0] * 5 + [4.9] * 9, ""),  # of a loss that begins near 0, as rl's
        ("e", [0.0] * 5 + [5.1] * 5, "the mean loss of 5 steps rose from 0 to 5.1 at step 10 of 10"),
        ("f", [4.0] * 5 + [11.9] * 5, ""),
        ("g", [1] * 5 + [29, 1, 1, 1, 1], "the mean loss of 5 steps rose from 1 to 6.6 at step 6 of 10"),
        ("h", [1] * 5 + [19, 1, 1, 1, 1], ""),  # one odd batch
    ):
        assert course(tmp_path / name, losses)[0].why == why
    taken, saved = course(tmp_path / "i", [1, 1, 1, 1, 1, 0, 9, 9, 9, 9, 9])
    assert (taken.best[1:], saved) == ((5, 0.8), [1, 5])  # equal ones are not written again
    taken, saved = course(tmp_path / "j", [1, 2, 3, 4, 5, 6])
    assert (taken.best, saved) == (None, [])  # nothing was better than the base
    _, saved = course(tmp_path / "k", [9 - step / 100 for step in range(95)], most=95)
    assert saved == list(range(10, 95, 10))  # about ten times, whatever the number of steps


def test_a_step_of_several_micro_batches_has_the_sum_of_their_losses(tmp_path):
    """A trainer gives each as its part of the step's: judged one by one, a step of 4 had to be 4 times as bad."""
    course = _diverge.Course(tmp_path, lambda folder: folder.mkdir())
    state, gradients = SimpleNamespace(global_step=0, max_steps=20), SimpleNamespace(sync_gradients=False)
    trainer = SimpleNamespace(training_step=lambda loss: loss, state=state, accelerator=gradients)
    course.watch(trainer)
    for loss in [2.0] * 5 + [12.0] * 5:
        for gradients.sync_gradients in (False, False, False, True):
            assert trainer.training_step(loss / 4) == loss / 4
        state.global_step += 1
    assert course.why == "the mean loss of 5 steps rose from 2 to 8 at step 8 of 20"


def test_a_kill_while_a_snapshot_is_written_leaves_one_or_none(tmp_path, monkeypatch):
    def killed(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            course(tmp_path, [2, 1])
    assert _diverge.Course(tmp_path, lambda _: None).best is None
    assert course(tmp_path, [2, 1])[0].best[1:] == (1, 1.5)


def breaking(at):
    """A change of the trainer: from the step on that begins with `at` updates, the loss is no number."""

    def change(trainer):
        class Breaking(trainer):
            def compute_loss(self, *given, **named):
                loss = super().compute_loss(*given, **named)
                return loss * math.nan if self.state.global_step >= at else loss

        return Breaking

    return How(at=tuple(range(1, 9)), changes=(change,))


@pytest.mark.parametrize("way", [LORA, FULL], ids=["lora", "full"])
def test_the_best_weights_are_the_result_and_the_record_says_so(base, tmp_path, way, monkeypatch):
    """Nothing is lost: the result is what step K of the same training left; a kill before the break changes nothing."""
    way.train(base, ROWS, tmp_path / "a", breaking(5))
    record = stage.record_of(tmp_path / "a")
    assert (record.diverged, record.steps, record.why) == (6, 6, "the loss is nan at step 6 of 8")
    assert record.kept in range(1, 5)
    assert math.isfinite(record.loss)
    assert stage.read(tmp_path / "a")["steps"] == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    names = {path.name for path in (tmp_path / "a" / f"step-{record.kept}").iterdir()}
    assert {path.name for path in (tmp_path / "a").iterdir() if path.is_file()} == names
    for path in (tmp_path / "a").glob("*.safetensors"):
        kept = load_file(tmp_path / "a" / f"step-{record.kept}" / path.name)
        assert {name: weight.tolist() for name, weight in load_file(path).items()} == {
            name: weight.tolist() for name, weight in kept.items()
        }

    class StopHereError(Exception):
        pass

    def stop(step, _):
        if step == 4:
            raise StopHereError

    with pytest.raises(StopHereError):
        way.train(base, ROWS, tmp_path / "b", replace(breaking(5), log=stop))
    way.train(base, ROWS, tmp_path / "b", breaking(5))
    again = stage.record_of(tmp_path / "b")
    assert (again.diverged, again.kept, again.why, again.resumed) == (6, record.kept, record.why, 1)


def test_a_chain_stops_at_a_diverged_stage_unless_the_caller_says_it(base, tmp_path, monkeypatch):
    start = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    steps, seen, real = [chain.Step(LORA, ROWS), chain.Step(replace(LORA, seed=1, steps=1), ROWS)], [], SFT.train

    def train(self, folder, rows, target, how):
        seen.append(self.steps)
        return real(self, folder, rows, target, replace(breaking(5), at=()) if self.steps == 8 else how)

    monkeypatch.setattr(SFT, "train", train)
    for _ in range(2):  # a rerun says it again, and trains nothing
        with pytest.raises(TrainingError, match="nan at step 6 of 8; training was stopped, and the weights") as error:
            chain.train(start, steps, tmp_path)
    assert seen == [8]
    first, second = chain.train(start, steps, tmp_path, diverged_too=True)
    assert str(first.folder) in error.value.hint
    assert (first.record.diverged, second.record.diverged, seen) == (6, 0, [8, 1])


def test_a_training_that_was_never_better_than_the_base_leaves_nothing(base, tmp_path):
    for at, words in ((0, "the loss is nan at step 1 of 8"), (1, "the loss is nan at step 2 of 8")):
        with pytest.raises(TrainingError, match=words) as error:
            LORA.train(base, ROWS, tmp_path / "a", replace(breaking(at), at=()))
        assert "no earlier step was better than the base" in str(error.value)
        assert not (tmp_path / "a" / stage.FILE).exists()
    with pytest.raises(TrainingError, match="not finite"):  # the last update broke them, and no loss was computed since
        replace(LORA, lr=1e30, steps=1, warmup=0).train(base, ROWS, tmp_path / "b")
