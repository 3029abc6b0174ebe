"""`tempovla eval libero` and `eval compare`."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tests.in_process import simulators_in_process
from tests.tiny import tiny_statevla_config

from tempovla.cli.command import comma_separated
from tempovla.model.vla.statevla import StateVLA
from tempovla.timeline import Bundle
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.config import config_to_json
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder

SMALL = tiny_statevla_config(
    cameras=("observation.images.agentview_rgb",), lang_emb_dim=16, robot_state_dim=9, action_dim=7, action_seq_len=8
)
MILK, SOUP = (f"pick_up_the_{thing}_and_place_it_in_the_basket" for thing in ("milk", "alphabet_soup"))


@pytest.fixture
def bundle() -> Bundle:
    """An untrained policy."""
    policy = StateVLA(SMALL)
    recording = {"simulator": "libero", "suite": "libero_object", "rendering": "fast", "image_size": 16}
    transform = TransformPipeline([ResizeImages(16), EmbedInstruction(HashedNgramEmbedder(16))]).to_json()
    config, provenance = config_to_json(SMALL), {"phase": 2, "recording": recording}
    return Bundle("statevla", config, policy.windows(), LIBERO_PANDA, transform, policy.state_dict(), provenance)


@pytest.fixture
def checkpoint(tmp_path, bundle) -> Path:
    bundle.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_users_errors_are_one_line(tmp_path, checkpoint, bundle, fails, libero_assets):
    evaluate = ["eval", "libero", "--checkpoint", checkpoint]
    assert "no LIBERO suite 'libero_objects'; did you mean libero_object?" in fails(
        *evaluate, "--task_suite", "libero_objects"
    )
    assert "no task 'pick_up_the_milk' in libero_object" in fails(*evaluate, "--tasks", "pick_up_the_milk")
    assert fails(*evaluate, "--num_trials", 0) == "episodes=0 must be at least 1"
    both = ["--instruction", "open it", "--wrong-instruction", "true"]
    assert fails(*evaluate, *both) == "instruction 'open it' and wrong_instruction exclude each other; give one of them"
    assert "the benchmark has 50 initial states, but 51 episodes are asked for" in fails(*evaluate, "--trials", 51)
    replace(bundle, provenance={"phase": 1}).save(checkpoint)
    assert "of phase 1 has not learned to act yet" in fails(*evaluate)
    replace(bundle, embodiment=replace(LIBERO_PANDA, action_dim=4, action_names=())).save(checkpoint)
    assert "with 9 state and 4 action dimensions, but LIBERO's has 9 and 7" in fails(*evaluate)
    assert f"{tmp_path / 'bundle.json'}: no such file" in fails("eval", "libero", "--checkpoint", tmp_path)


@pytest.mark.slow
@pytest.mark.sim
def test_the_same_seeds_give_the_same_file_however_it_is_run(tmp_path, checkpoint, tempovla, libero_assets):
    evaluate = ["eval", "libero", "--checkpoint", checkpoint, "--tasks", f"{MILK},{SOUP}", "--trials", 2]
    evaluate += ["--max_steps", 8]
    one, other = tmp_path / "one", tmp_path / "other"
    films = ["--videos", one / "rollouts"]
    with simulators_in_process():
        answer = tempovla(*evaluate, "--num_envs", 2, "--workers", 2, "--json", other / "results.json")
        assert answer.code == 0, answer.err
        answer = tempovla(*evaluate, "--num_envs", 1, "--workers", 1, "--json", one / "results.json", *films)
    assert answer.code == 0, answer.err
    assert (one / "results.json").read_bytes() == (other / "results.json").read_bytes()

    results = json.loads((one / "results.json").read_text())
    episodes = [(e["task"], e["init_state"], e["steps"], e["success"]) for e in results["episodes"]]
    assert episodes == [(task, state, 8, False) for task in (MILK, SOUP) for state in (0, 1)]
    assert (results["simulator"]["rendering"], results["simulator"]["image_size"]) == ("fast", 16)
    assert results["tasks"][MILK]["instruction"] == "pick up the milk and place it in the basket"
    index = json.loads((one / "rollouts" / "index.json").read_text())
    assert [(entry["task"], entry["success"]) for entry in index] == [(MILK, False), (SOUP, False)]
    assert all((one / "rollouts" / entry["file"]).stat().st_size > 1000 for entry in index)

    report = one / "report.html"
    assert tempovla("report", one, "--out", report).code == 0
    assert "data:video/mp4;base64," in report.read_text()
    answer = tempovla("eval", "compare", one / "results.json", other / "results.json")
    assert answer.out.splitlines()[-1].startswith("no difference: over 4 paired episodes")


@pytest.mark.sim
def test_a_killed_simulator_is_one_line(checkpoint, fails, libero_assets, monkeypatch):
    from tempovla.env.vector import ShardedVectorEnv

    reset = ShardedVectorEnv.reset

    def reset_and_lose_a_worker(self, **arguments):
        answer = reset(self, **arguments)
        os.kill(self._workers[0].process_id, signal.SIGKILL)
        return answer

    monkeypatch.setattr(ShardedVectorEnv, "reset", reset_and_lose_a_worker)
    evaluate = ["eval", "libero", "--checkpoint", checkpoint, "--tasks", MILK, "--trials", 1]
    assert "died: killed by SIGKILL, perhaps for want of memory" in fails(*evaluate)


def test_evaluations_are_compared_in_words_and_numbers(tmp_path, tempovla, fails):
    for name, solved in (("a", range(2)), ("b", range(9))):
        episodes = [{"task": MILK, "seed": i, "init_state": i, "success": i in solved} for i in range(10)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"simulator": {"name": "libero"}, "episodes": episodes}))
    compare = ["eval", "compare", tmp_path / "a.json", tmp_path / "b.json"]
    lines = tempovla(*compare).out.splitlines()
    assert lines[3].split() == [MILK, "20%", "90%", "+70", "[+27,", "+87]", "0", "7", "0.016"]
    assert lines[-1].startswith("B is better than A: +70.0 points [+26.6, +86.5]")
    assert json.loads(tempovla(*compare, "--json").out)["all"]["only_b"] == 7
    assert "no such file; give a file that" in fails("eval", "compare", tmp_path / "a.json", tmp_path / "c.json")


def test_a_task_named_twice_is_played_once():
    assert comma_separated(f"{MILK}, {SOUP},{MILK}") == [MILK, SOUP]
