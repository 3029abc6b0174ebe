"""SA-GR that learns from a dataset without actions beside one that has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST
from tests.sagr_runs import ONE_BAR, record_moves, sagr_recipe
from tests.unit.recipe.mixtures import DIMS, SIDE, SMALL, member, mixed_recipe, record_body

from tempovla.control.body_selection import load_bundle
from tempovla.data.layout import Feature
from tempovla.data.open import open_source
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.sagr_inverse import infer_actions
from tempovla.objective import Objective
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.datasets.dataset_mixture import load_demonstrations
from tempovla.recipe.systems.sagr import build_policy, build_transform, train_sagr
from tempovla.recipe.systems.sagr_config import SAGRRecipe
from tempovla.timeline import Progress, Track
from tempovla.training.metrics import read_metrics

VIDEO = "video"
TOKENS: dict[str, Any] = {
    "world_condition": "tokens",
    "world_target": "vision",
    "world_target_encoder": "ema",
    "loss_w_geo": 0.0,
    "use_drift": False,
}
"""A prediction that reads no actions."""


def record_video(root: Path, episodes: int = 3) -> Path:
    """Pictures alone, of another size and under another name."""
    random = np.random.default_rng(5)
    with DatasetWriter(root, {SIDE: Feature("image", (24, 32, 3))}, 10.0) as writer:
        for _ in range(episodes):
            writer.add_episode({SIDE: random.integers(0, 256, (9, 24, 32, 3), np.uint8)}, "task 0")
    return root


def video_recipe(root: Path, *members: MemberConfig, model: dict[str, Any] | None = None, **options: Any) -> SAGRRecipe:
    """A small body's demonstrations and the video, six steps."""
    recipe = sagr_recipe("", {"robot_state_dim": 2, **TOKENS, **(model or {})}, **{"batch_size": 16} | options)
    mixture = members or (member(root, SMALL), video_member(root))
    return replace(recipe, data=replace(recipe.data, data_directory="", mixture=mixture))


def video_member(root: Path, **options: Any) -> MemberConfig:
    return MemberConfig(str(root / VIDEO), cameras={FRONT: SIDE, WRIST: None}, actions=False, **options)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    record_body(tmp_path / SMALL, SMALL, episodes=4)
    record_video(tmp_path / VIDEO)
    return tmp_path


def policy_and_batches(recipe: SAGRRecipe) -> tuple[Any, Iterator[Any]]:
    """A policy, and batches of rows of both datasets."""
    data = load_demonstrations(recipe)
    policy = build_policy(recipe, None, data.missing_cameras)
    transform = build_transform(recipe, policy, data)
    batches, _ = data.batches(policy.training_windows(), recipe, recipe.training, transform, policy.window_ends)
    return policy, (transform.joined.forward_sample(batch) for batch in batches)


def batch_of(recipe: SAGRRecipe) -> tuple[Any, Any]:
    """A policy, and a batch."""
    policy, batches = policy_and_batches(recipe)
    return policy, next(batches)


def test_a_video_has_no_valid_action_and_teaches_the_prediction(recorded: Path) -> None:
    policy, sample = batch_of(video_recipe(recorded))
    video = torch.tensor([task.dataset == VIDEO for task in sample.context.task])
    assert 0 < video.sum() < len(video)
    assert not sample.future[ACTION].valid[video].any()
    assert not sample.context.now[STATE].valid[video].any()
    assert sample.future[ACTION].valid[~video].any()
    terms = policy(sample)
    learned = terms["dyn_loss"].valid
    assert learned[video].any()
    assert learned[~video].any()
    repeats = policy.config.action_head.repeated_diffusion_steps
    assert not terms["action_loss"].valid.unflatten(0, (-1, repeats))[video].any()


def test_what_lies_in_the_place_of_a_videos_actions_and_state_reaches_no_loss(recorded: Path) -> None:
    policy, sample = batch_of(video_recipe(recorded))
    policy.eval()

    def losses(value: float) -> dict[str, torch.Tensor]:
        future, now = dict(sample.future), dict(sample.context.now)
        for tracks, key in ((future, ACTION), (now, STATE)):
            gone = ~tracks[key].valid[..., None]
            tracks[key] = tracks[key].with_value(tracks[key].value.masked_fill(gone, value))
        terms = policy(replace(sample, context=replace(sample.context, now=now), future=future))
        return {key: term.prediction[term.valid] for key, term in terms.items() if "loss" in key and "debug" not in key}

    for key, clean in losses(0.0).items():
        assert torch.equal(clean, losses(float("nan"))[key]), key


def test_it_trains_and_acts_as_the_body_with_actions(recorded: Path) -> None:
    result = train_sagr(video_recipe(recorded), recorded / "run")
    lines = read_metrics(recorded / "run")
    assert all(np.isfinite(line["action_loss"]) for line in lines)
    assert all(np.isfinite(line[key]) for line in lines for key in line if key.startswith("val_total"))
    bundle = load_bundle(result.checkpoint, SMALL)
    assert bundle.embodiment.action_dim == DIMS[SMALL][1]
    with pytest.raises(ValueError, match=r"learned no actions from the dataset 'video'; choose from \['small'\]"):
        load_bundle(result.checkpoint, VIDEO)
    assert load_bundle(result.checkpoint).provenance["dataset_name"] == SMALL  # the only one that can be meant


def test_a_recording_with_actions_may_be_taken_as_a_video(recorded: Path) -> None:
    record_body(recorded / "more", SMALL, episodes=3)
    silent = MemberConfig(str(recorded / "more"), actions=False)
    _, sample = batch_of(video_recipe(recorded, member(recorded, SMALL), silent))
    video = torch.tensor([task.dataset == "more" for task in sample.context.task])
    assert not sample.future[ACTION].valid[video].any()
    assert sample.context.now[STATE].valid[video].all()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"world_condition": "actions"}, "leave it out, or set model.inverse_weight=1"),
        ({"loss_w_dyn": 0.0}, "frames without actions teach this policy nothing"),
    ],
)
def test_a_policy_that_learns_nothing_from_video_refuses_it(recorded: Path, model: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        train_sagr(video_recipe(recorded, model=model), recorded / "run")
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("data.mixture: video has actions: false")
    assert not (recorded / "run").exists()


def test_flare_learns_from_video(recorded: Path) -> None:
    flare = {"flare_weight": 0.2, "loss_w_dyn": 0.0, "world_target": "task_tokens", "world_condition": "actions"}
    policy, sample = batch_of(video_recipe(recorded, model=flare))
    video = torch.tensor([task.dataset == VIDEO for task in sample.context.task])
    assert policy(sample)["flare_loss"].valid[video].any()


def test_other_policies_and_mixtures_of_videos_alone_refuse_them(recorded: Path) -> None:
    vla = mixed_recipe(recorded, (SMALL,))
    mixture = (*vla.data.mixture, video_member(recorded))
    with pytest.raises(ValueError, match="teach this policy nothing; leave it out, or train SA-GR"):
        load_demonstrations(replace(vla, data=replace(vla.data, mixture=mixture)))
    with pytest.raises(ValueError, match="as all datasets have; add one whose actions are learned"):
        load_demonstrations(video_recipe(recorded, video_member(recorded)))


def test_a_dataset_of_a_mixture_has_its_own_number_of_demonstrations(recorded: Path) -> None:
    mixture = (member(recorded, SMALL, demos_per_task=1), video_member(recorded))
    recipe = video_recipe(recorded, *mixture)
    recipe = replace(recipe, data=replace(recipe.data, demos_per_task=2))
    assert [len(part.source) for part in load_demonstrations(recipe).members] == [2, 2]  # of two tasks, and of one
    with pytest.raises(ValueError, match="small has demos_per_task=0; it must be at least 1"):
        member(recorded, SMALL, demos_per_task=0)


INVERSE: dict[str, Any] = {"loss_w_dyn": 0.0, "inverse_weight": 1.0, "world_target": "task_tokens"}
"""Nothing is predicted; an inverse model tells the actions of videos."""


def test_an_inverse_model_tells_the_actions_of_a_video_and_the_policy_imitates_them(recorded: Path) -> None:
    policy, sample = batch_of(video_recipe(recorded, model={**INVERSE, "cloning_weight": 1.0}))
    video = torch.tensor([task.dataset == VIDEO for task in sample.context.task])
    k, horizon = policy.config.temporal_delta_k, policy.config.action_horizon
    terms = policy(sample)
    there = sample.future[FRONT].at(k)[1]  # whether the frame k steps later was recorded
    expected = (video & there)[:, None] & (torch.arange(horizon) < k)
    assert torch.equal(terms["video_cloning"].valid, expected)
    repeats = policy.config.action_head.repeated_diffusion_steps
    assert torch.equal(terms["video_action_loss"].valid, expected.repeat_interleave(repeats, dim=0))
    known = ~video & there & sample.future[ACTION].valid[:, :k].all(dim=1)
    assert torch.equal(terms["inverse_loss"].valid, known)
    assert known.any()
    told = terms["inverse_loss"].prediction
    assert torch.equal(terms["video_cloning"].target[:, :k][video & there], told[video & there].detach())
    for name in ("video_action_loss", "video_cloning"):  # the policy learns from the inverse model, which does not mind
        (alone,) = torch.autograd.grad(
            terms[name].prediction.sum(), [policy.inverse.head[0].weight], retain_graph=True, allow_unused=True
        )
        assert alone is None
        assert terms[name].target is not None
        assert not terms[name].target.requires_grad


def test_videos_teach_no_actions_in_the_first_phase(recorded: Path) -> None:
    policy, sample = batch_of(video_recipe(recorded, model=INVERSE))
    assert policy(sample, Progress(0, 6))["video_action_loss"].weight == 0.0
    assert policy(sample, Progress(6, 6))["video_action_loss"].weight == policy.config.loss_w_fm


def test_what_it_tells_of_a_video_is_what_was_done(tmp_path: Path) -> None:
    """The bar of `record_moves` moves by the action, which the video does not hold."""
    record_moves(tmp_path / "robot", episodes=8)
    hidden = open_source(record_moves(tmp_path / VIDEO, episodes=4, seed=1))
    model = {**TOKENS, **INVERSE, **ONE_BAR, "temporal_delta_k": 1}
    mixture = (MemberConfig(str(tmp_path / "robot")), MemberConfig(str(tmp_path / VIDEO), actions=False))
    policy, batches = policy_and_batches(video_recipe(tmp_path, *mixture, model=model, batch_size=64))
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for sample, _ in zip(batches, range(200), strict=False):
        inferred = infer_actions(policy, sample, policy.frames.now(sample.context))
        optimizer.zero_grad()
        Objective()({"inverse_loss": inferred.loss}).total.backward()
        optimizer.step()
    frames, done = (hidden.read(0, key, range(24)).value for key in (FRONT, ACTION))
    tracks = {FRONT: Track.of(torch.from_numpy(frames).permute(0, 3, 1, 2)[None], range(24))}
    seen = torch.stack([policy.frames.raw(tracks, step)[0] for step in range(24)])
    told = policy.inverse(seen[:-1], seen[1:])[:, 0, 0].detach().numpy()
    agree = np.mean(np.sign(told) == np.sign(done[:-1, 0]))
    assert agree > 0.9


def test_videos_beside_bodies_with_fewer_dimensions_are_refused(recorded: Path) -> None:
    recipe = video_recipe(recorded, model={**INVERSE, "action_dim": 5})
    with pytest.raises(ValueError, match=r"small has 3 of the model's 5 action dimensions, so that nothing tells"):
        train_sagr(recipe, recorded / "run")
    assert not (recorded / "run").exists()


@pytest.mark.parametrize("option", [{"action_key": "joint.command"}, {"has_gripper": True}])
def test_options_of_actions_are_refused_beside_none(recorded: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"video has {next(iter(option))}=.*, but actions: false; leave out one"):
        video_member(recorded, **option)
