"""A checkpoint of another run is refused in one line that names the difference."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.toy import LinearPolicy, ToyStream

from tempovla.timeline.bundle import Bundle
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.result import FitResult
from tempovla.training.resume import as_written_now

CONFIG = TrainConfig(train_steps=4, save_interval=0, save_interval_steps=2, keep_every=2, num_threads=1)


class RetransformedPolicy(LinearPolicy):
    """The same model over data with other statistics."""

    def bundle(self, weights) -> Bundle:
        return replace(super().bundle(weights), transform={"steps": [{"offset": 1.0}]})


class MislabelledPolicy(LinearPolicy):
    """Another model that claims the same config."""

    def bundle(self, weights) -> Bundle:
        return replace(super().bundle(weights), config=LinearPolicy().bundle({}).config)


def run(run_dir: Path, config: TrainConfig = CONFIG, policy=None, stream=None, **options) -> FitResult:
    policy = policy or LinearPolicy()
    return fit(policy, stream or ToyStream(), config, run_dir, bundle=policy.bundle, **options)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    run(tmp_path / "run")
    return tmp_path / "run/checkpoints/step_00000002"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"config": replace(CONFIG, weight_decay=0.1)}, "training.weight_decay was 0.05, and is 0.1 now"),
        ({"config": replace(CONFIG, train_steps=8)}, "training.train_steps was 4, and is 8 now"),
        ({"policy": LinearPolicy(code_dim=16)}, "model.code_dim was 8, and is 16 now"),
        ({"policy": MislabelledPolicy(code_dim=16)}, r"weight 'slow_weight' was \(8, 6\), and is \(16, 6\) now"),
        ({"policy": RetransformedPolicy()}, "transform.steps.0.offset was 'absent', and is 1.0 now"),
        ({"stream": ToyStream(samples=28)}, "samples_per_epoch was 24, and is 28 now"),
        (
            {"config": replace(CONFIG, batch_size=32), "stream": ToyStream(batch_size=12)},
            "training.batch_size was 64, and is 32 now",
        ),
        ({"phase": "action"}, "phase was 'train', and is 'action' now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_its_first_difference(tmp_path, checkpoint, options, difference):
    with pytest.raises(ValueError, match=difference) as caught:
        run(tmp_path / "resumed", resume=checkpoint, **options)
    assert str(caught.value).startswith(f"{checkpoint}: ")
    assert "or start a new run" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_change_what_is_learned_may_differ(tmp_path, checkpoint):
    config = replace(CONFIG, log_interval=1, save_interval_steps=3, keep_every=None)
    assert run(tmp_path / "resumed", config, resume=checkpoint).train_step == 4


class MeasuredPolicy(LinearPolicy):
    """The same model behind a normalisation by a mean."""

    def __init__(self, mean: float, **fields: float) -> None:
        super().__init__()
        self.step = {"name": "normalize", "offset": {"action": [mean]}, "scale": {"action": [1.0]}, **fields}

    def bundle(self, weights) -> Bundle:
        return replace(super().bundle(weights), transform={"steps": [self.step]})


def test_other_statistics_are_refused_with_the_option_that_takes_them(tmp_path):
    run(tmp_path / "run", policy=MeasuredPolicy(1.0))
    saved = tmp_path / "run/checkpoints/step_00000002"
    told = r"transform\.steps\.0\.offset\.action\.0 was 1\.0, and is 1\.5 now; .*by training\.accept_changed_data=true"
    with pytest.raises(ValueError, match=told):
        run(tmp_path / "refused", policy=MeasuredPolicy(1.5), resume=saved)
    accepting = replace(CONFIG, accept_changed_data=True)
    result = run(tmp_path / "taken", accepting, policy=MeasuredPolicy(1.5), resume=saved)
    assert Bundle.load(result.checkpoint).transform["steps"][0]["offset"] == {"action": [1.5]}
    with pytest.raises(ValueError, match=r"transform\.steps\.0\.mode was 'absent', and is 7 now"):
        run(tmp_path / "other", accepting, policy=MeasuredPolicy(1.5, mode=7), resume=saved)


def test_a_link_to_a_checkpoint_that_was_never_finished_says_to_start_anew(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoint_latest").symlink_to("checkpoints/step_00000002")
    with pytest.raises(
        ValueError, match=r"checkpoint_latest: is a link to .*; the run has no checkpoint to go on from yet"
    ):
        run(tmp_path, resume=tmp_path / "checkpoint_latest")
    assert run(tmp_path).train_step == 4


def test_a_folder_with_a_zero_byte_is_refused():
    with pytest.raises(ValueError, match=r"output directory 'a\\x00b' holds a zero byte"):
        run(Path("a\0b"))


def test_a_lower_learning_rate_is_taken_and_remembered(tmp_path, checkpoint):
    result = run(tmp_path / "resumed", replace(CONFIG, learning_rate=5e-5), resume=checkpoint)
    assert Checkpoint.load(result.checkpoint).record["learning_rates"] == [
        {"train_step": 0, "learning_rate": 1e-4},
        {"train_step": 2, "learning_rate": 5e-5},
    ]


def test_a_checkpoint_of_before_the_learning_rate_might_change_is_resumed(tmp_path, checkpoint):
    path = checkpoint / "trainer.json"
    record = json.loads(path.read_text())
    del record["learning_rates"]
    record["identity"]["training"]["learning_rate"] = 2e-4
    path.write_text(json.dumps(record))
    result = run(tmp_path / "resumed", resume=checkpoint)
    rates = [entry["learning_rate"] for entry in Checkpoint.load(result.checkpoint).record["learning_rates"]]
    assert rates == [2e-4, 1e-4]


def test_a_finished_run_resumes_to_its_own_end(tmp_path, checkpoint):
    again = run(tmp_path / "run", resume=tmp_path / "run/checkpoint_latest")
    assert again.train_step == 4
    assert again.checkpoint == tmp_path / "run/checkpoints/step_00000004"


def test_a_run_does_not_overwrite_another(tmp_path, checkpoint):
    run_dir = checkpoint.parent.parent
    run(tmp_path / "other")
    for resume in (None, tmp_path / "other/checkpoint_latest"):
        with pytest.raises(ValueError, match=rf"{run_dir}: holds a run with checkpoints up to step 4; resume from"):
            run(run_dir, resume=resume)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere/trainer.json: no such file; resume from another checkpoint"):
        run(tmp_path / "run", resume=tmp_path / "nowhere")


@dataclass(frozen=True)
class Sizes:
    """A config that has got a key since."""

    width: int = 8
    depth: int = 2

    @classmethod
    def upgraded_json(cls, data):
        return {"depth": 1} | data


def test_a_config_of_an_earlier_version_has_the_keys_of_this_one_and_what_they_meant_then():
    assert as_written_now({"model": {"width": 4}, "phase": "x"}, Sizes()) == {
        "model": {"width": 4, "depth": 1},
        "phase": "x",
    }


@pytest.mark.parametrize("saved", [{"model": {"wide": 4}}, {"model": None}, {}])
def test_what_is_no_such_config_stays_as_it_was_saved(saved):
    assert as_written_now(saved, Sizes()) == saved
    assert as_written_now({"model": {"width": 4}}, None) == {"model": {"width": 4}}
