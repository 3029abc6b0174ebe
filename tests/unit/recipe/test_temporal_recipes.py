"""The three compositions of policies that remember, as their configs: trained, and acting for rows of several ages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tempovla.cli.train import build
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import Bundle
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
COMPOSITIONS = ("temporal_vla", "driving_vla_with_temporal", "manipulation_vla_with_history")
STEPS = 24


def read_recipe(name: str) -> VLARecipe:
    """A config as it is."""
    parser = build("train vla", "")
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIGS / f"{name}.yaml")]))
    return VLARecipe(args.data, args.transform, args.model, args.training)


def observation(recipe: VLARecipe, episode: int, step: int) -> dict[str, np.ndarray]:
    """What a robot of this recipe sees; after four steps, episodes look alike whose last digit is the same."""
    random = np.random.default_rng([episode if step < 4 else episode % 10, step])
    seen = {camera: random.integers(0, 256, (24, 24, 3), dtype=np.uint8) for camera in recipe.model.cameras}
    if recipe.model.robot_state_dim is not None:
        seen[STATE_KEY] = random.normal(size=recipe.model.robot_state_dim).astype(np.float32)
    return seen


def record(recipe: VLARecipe, root: Path) -> str:
    """Two episodes of such observations, with actions, and a state even where the recipe reads none."""
    model = recipe.model
    features = {camera: Feature("image", (24, 24, 3)) for camera in model.cameras}
    features |= {STATE_KEY: Feature("float32", (model.robot_state_dim or 2,))}
    features |= {ACTION_KEY: Feature("float32", (model.action_dim,))}
    with DatasetWriter(root, features, 10.0, robot_type="toy") as writer:
        for episode in range(2):
            seen = [observation(recipe, episode, step) for step in range(STEPS)]
            frames = {key: np.stack([one[key] for one in seen]) for key in seen[0]}
            frames.setdefault(STATE_KEY, np.zeros((STEPS, 2), np.float32))
            action = np.random.default_rng(episode).normal(size=(STEPS, model.action_dim)).astype(np.float32)
            if model.has_gripper:
                action[:, -1] = np.where(np.arange(STEPS) < 12, -1.0, 1.0)
            writer.add_episode({**frames, ACTION_KEY: action}, f"task {episode}")
    return str(root)


@pytest.fixture(scope="module", params=COMPOSITIONS)
def trained(request, tmp_path_factory) -> tuple[VLARecipe, Bundle]:
    recipe, tmp_path = read_recipe(request.param), tmp_path_factory.mktemp(request.param)
    few = replace(
        recipe.training, train_steps=3, batch_size=2, save_interval_steps=3, warmup_steps=1, precision="float32"
    )
    data = DataConfig(data_directory=record(recipe, tmp_path / "data"), train_split=1.0)
    recipe = replace(recipe, training=few, data=data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        result = train_vla(recipe, tmp_path / "run")
    assert result.train_step == 3
    assert np.isfinite(result.metrics["total"])
    return recipe, Bundle.load(result.checkpoint)


class Rows:
    """Rows that act, each in an episode of its own, whose observations follow from its number."""

    def __init__(self, recipe: VLARecipe, bundle: Bundle, rows: int) -> None:
        self.recipe = recipe
        self.stride = recipe.model.context.stride
        self.controller = Controller.from_bundle(bundle)
        self.builder = ContextBuilder(bundle.windows, bundle.embodiment, rows)
        self.state = self.controller.with_seeds(self.controller.initial_state(rows), [5] * rows)
        self.episode, self.step = [0] * rows, [0] * rows

    def start(self, row: int, episode: int) -> None:
        self.episode[row], self.step[row] = episode, 0
        self.builder.reset(row, f"task {episode % 2}", observation(self.recipe, episode, 0))

    def decide(self) -> Tensor:
        """Chunks of all rows (B, H, A); their first steps are executed."""
        chunk, self.state = self.controller.act(self.builder.context(), self.state)
        for row, episode in enumerate(self.episode):
            self.step[row] += self.stride
            done = chunk.value[row, : self.stride].numpy()
            self.builder.add(row, done, observation(self.recipe, episode, self.step[row]))
        return chunk.value


def alone(recipe: VLARecipe, bundle: Bundle, episode: int, decisions: int) -> Tensor:
    """Chunks (decisions, H, A) of an episode that has a policy for itself."""
    rows = Rows(recipe, bundle, 1)
    rows.start(0, episode)
    return torch.stack([rows.decide()[0] for _ in range(decisions)])


@pytest.mark.slow
def test_a_composition_trains_and_acts_for_rows_that_reset_at_different_times(trained):
    recipe, bundle = trained
    rows = Rows(recipe, bundle, 3)
    assert isinstance(rows.controller.policy, ContextPolicy)
    for row in range(3):
        rows.start(row, row)
    chunks = []
    for decision in range(6):
        if decision in (2, 3):  # two rows end early, one after the other
            rows.start(decision - 1, 10 + decision)
        chunks.append(rows.decide())
    seen = torch.stack(chunks, dim=1)
    for row, episode, start in ((0, 0, 0), (1, 12, 2), (2, 13, 3)):  # each as if it were by itself
        torch.testing.assert_close(seen[row, start:], alone(recipe, bundle, episode, 6 - start), atol=1e-4, rtol=1e-4)
    assert seen.shape == (3, 6, recipe.model.action_horizon, recipe.model.action_dim)


@pytest.mark.slow
def test_the_past_changes_what_is_done(trained):
    """Two rows see the same, but did not before."""
    recipe, bundle = trained
    rows = Rows(recipe, bundle, 2)
    rows.start(0, 1)
    rows.start(1, 11)
    for _ in range(5):
        rows.decide()
    context = rows.builder.context()
    assert all(torch.equal(*track.value) for track in context.now.values())
    one, other = rows.controller.act(context, rows.state)[0].value
    assert (one - other).abs().max() > 1e-6
    as_new = replace(context, first=torch.tensor([True, True]))
    torch.testing.assert_close(*rows.controller.act(as_new, rows.state)[0].value, atol=1e-5, rtol=1e-5)


def test_the_driving_composition_looks_back_eight_frames_and_reads_no_state():
    recipe = read_recipe("driving_vla_with_temporal")
    context = recipe.model.context
    assert (context.temporal.window, context.stride, context.burn_in) == (8, 1, 7)
    assert context.history is None
    assert context.memory is None
    assert recipe.model.robot_state_dim is None
    assert not recipe.model.has_gripper


def test_the_manipulation_composition_is_a_history_alone():
    context = read_recipe("manipulation_vla_with_history").model.context
    assert context.history.history_length == 16
    assert context.temporal is None
    assert context.memory is None


def test_the_temporal_composition_starts_from_the_one_frame_policy_of_the_metaworld_config():
    recipe, base = read_recipe("temporal_vla"), read_recipe("vla_metaworld")
    own = {"context": None, "action_head_options": {}}
    assert replace(recipe.model, **own) == replace(base.model, **own)
    options = recipe.model.action_head_options["flow_matching"]
    assert options == base.model.action_head_options["flow_matching"]
