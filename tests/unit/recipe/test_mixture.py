"""One policy learns from datasets of several bodies, and acts for each in its own units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST
from tests.tiny import tiny_recipe
from tests.trained import assert_same, logged
from tests.unit.recipe.mixtures import CAMERAS, DIMS, LARGE, SIDE, SMALL, member, mixed_recipe, pose, record_body
from torch import Tensor

from tempovla.control.body_selection import load_bundle
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.control.load import load
from tempovla.data.loader import LoaderConfig, SampleLoader, collate
from tempovla.data.sampler import SampleBatch
from tempovla.model.vla.registry import load_policy
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset import preparation
from tempovla.recipe.datasets.dataset_mixture import load_demonstrations
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.statevla import train_phase
from tempovla.recipe.systems.vla import build_policy, build_transform, resolve_model, train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import ActionChunk, Bundle, TimelineSample, laws
from tempovla.timeline.keys import dims_key
from tempovla.transform.pipeline import TransformPipeline


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    for body in (SMALL, LARGE):
        record_body(folder / body, body, noise=0.1)
    return folder


class Prepared:
    """Everything that training has before its first step."""

    def __init__(self, recipe: VLARecipe) -> None:
        torch.manual_seed(0)
        self.source = load_demonstrations(recipe)
        self.recipe = replace(recipe, model=resolve_model(recipe.model, self.source))
        self.policy = build_policy(self.recipe).eval()
        self.transform = build_transform(self.recipe, self.policy, self.source)
        windows = self.policy.windows()
        self.loader, self.validation = self.source.batches(windows, self.recipe, self.recipe.training, self.transform)
        self.prepare = preparation(self.recipe.transform, self.transform)

    def sample(self) -> TimelineSample:
        return self.prepare(next(iter(self.loader)))


def loss(prepared: Prepared, sample: TimelineSample) -> Tensor:
    return Objective()(prepared.policy(sample)).total


def rows_of(sample: TimelineSample, body: str) -> list[int]:
    return [row for row, task in enumerate(sample.context.task) if task.dataset == body]


@pytest.mark.parametrize("head", ["mlp", "gaussian", "flow_matching", "transformer"])
def test_what_lies_in_dimensions_and_cameras_that_a_body_lacks_changes_nothing(root, head):
    prepared = Prepared(mixed_recipe(root, head=head))
    sample = prepared.sample()
    small = rows_of(sample, SMALL)
    assert 0 < len(small) < 8
    whole = loss(prepared, sample)
    state, action = sample.context.now[STATE].value.clone(), sample.future[ACTION].value.clone()
    state[small, :, 2:] = torch.nan
    action[small, :, 2:4] = torch.nan
    now = {**sample.context.now, STATE: sample.context.now[STATE].with_value(state)}
    spoiled = TimelineSample(
        replace(sample.context, now=now), {ACTION: sample.future[ACTION].with_value(action)}, sample.seed
    )
    assert torch.equal(loss(prepared, spoiled), whole)
    policy, start = prepared.policy, prepared.policy.initial_state(8)
    assert torch.equal(policy.act(spoiled.context, start)[0].value, policy.act(sample.context, start)[0].value)
    laws.check_padding_invariance(prepared.policy, laws.with_gaps(sample))


def test_the_loss_is_that_of_the_bodies_own_dimensions(root):
    prepared = Prepared(mixed_recipe(root))
    sample = prepared.sample()
    terms = prepared.policy(sample)
    own = {SMALL: [True, True, False, False, True], LARGE: [True] * 5}
    expected = torch.tensor([own[task.dataset] for task in sample.context.task])
    inside = sample.future[ACTION].valid
    assert torch.equal(terms["action_loss"].valid, inside[..., None] & expected[:, None])
    assert torch.equal(terms["behavior_cloning"].valid, inside[..., None] & expected[:, None])
    assert bool(inside[rows_of(sample, LARGE)].any())  # rows without a wrist camera count


def test_a_camera_that_a_body_lacks_is_invalid_and_the_renamed_one_is_its_own(root):
    prepared = Prepared(mixed_recipe(root))
    sample = prepared.sample()
    small, large = rows_of(sample, SMALL), rows_of(sample, LARGE)
    wrist, front = sample.context.now[WRIST], sample.context.now[FRONT]
    assert wrist.valid[small].all()
    assert not wrist.valid[large].any()
    assert front.valid.all()
    assert front.value.shape == (8, 1, 3, 16, 16)
    assert front.value[large].float().std() > 1
    assert SIDE not in sample.context.now
    assert sample.context.now[dims_key(STATE)].value[small, 0].tolist() == [[True, True, False, False]] * len(small)


def test_actions_of_both_bodies_in_one_batch_come_back_in_their_own_units(root):
    prepared = Prepared(mixed_recipe(root))
    raw = next(iter(prepared.loader))  # the views are applied already
    assert {body: len(rows_of(raw, body)) > 0 for body in DIMS} == {SMALL: True, LARGE: True}
    normalized = raw.future[ACTION]
    chunk = ActionChunk(normalized.value, normalized.valid, normalized.offset, raw.context.task)
    back = prepared.transform.inverse(chunk)
    assert back.value.shape == (8, 5, 5)
    for row, task in enumerate(raw.context.task):
        _, dims = DIMS[task.dataset]
        valid = back.valid[row]
        wanted = pose(task.dataset, int(task.instruction[-1]))
        own = back.value[row][valid]
        torch.testing.assert_close(own[:, : dims - 1], torch.full_like(own[:, : dims - 1], wanted), atol=0.5, rtol=0)
        assert set(own[:, dims - 1].tolist()) <= {-1.0, 1.0}
        assert not own[:, dims:].any()
    with pytest.raises(ValueError, match=r"need ActionChunk\.task"):
        prepared.transform.inverse(replace(chunk, task=()))


def test_statistics_are_those_of_each_dataset(root):
    prepared = Prepared(mixed_recipe(root))
    sample = prepared.sample()
    for body in DIMS:
        action = sample.future[ACTION]
        rows = rows_of(sample, body)
        assert action.value[rows][..., 0][action.valid[rows]].abs().max() < 1.5
    saved = prepared.transform.to_json()
    again = TransformPipeline.from_json(saved)
    assert again.to_json() == saved


def act(checkpoint: Path, body: str, tasks: tuple[int, ...] = (0, 1), *, cameras: bool = True) -> Tensor:
    """Chunks (tasks, H, A) of a body's own observations in its own names, sizes and units."""
    bundle = load_bundle(checkpoint, body)
    controller = Controller.from_bundle(bundle)
    builder = ContextBuilder(bundle.windows, bundle.embodiment, len(tasks))
    random = np.random.default_rng(5)
    for row, task in enumerate(tasks):
        state = random.normal(size=DIMS[body][0]).astype(np.float32)
        pictures = {key: random.integers(0, 256, shape, np.uint8) for key, shape in CAMERAS[body].items()}
        seen = pictures if cameras else {}
        builder.reset(row, f"task {task}", {STATE: state, **seen})
    return controller.act(builder.context(), controller.initial_state(len(tasks)))[0].value


def test_one_policy_acts_rightly_for_both_bodies_by_words_and_body(tmp_path, root):
    recipe = mixed_recipe(root, train_steps=150, learning_rate=1e-2, log_interval=50)
    recipe = replace(recipe, data=replace(recipe.data, train_split=1.0))
    checkpoint = train_vla(recipe, tmp_path / "run").checkpoint
    for body, scale in ((SMALL, 1.0), (LARGE, 50.0)):
        actions = act(checkpoint, body)
        dims = DIMS[body][1]
        assert actions.shape == (2, 5, dims)
        for task in (0, 1):
            wanted = torch.full((5, dims - 1), pose(body, task))
            torch.testing.assert_close(actions[task, :, :-1], wanted, atol=0.4 * scale, rtol=0)
            assert actions[task, :, -1].tolist() == [1.0 if (task == 1) == (body == SMALL) else -1.0] * 5


def test_datasets_are_drawn_by_weight(root):
    recipe = mixed_recipe(root, batch_size=2000)
    members = tuple(replace(one, weight=weight) for one, weight in zip(recipe.data.mixture, (3.0, 1.0), strict=True))
    prepared = Prepared(replace(recipe, data=replace(recipe.data, mixture=members)))
    assert len(rows_of(next(iter(prepared.loader)), SMALL)) == pytest.approx(1500, abs=60)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, root):
    recipe = mixed_recipe(root, head="flow_matching")
    whole = train_vla(recipe, tmp_path / "run")
    halfway = whole.checkpoint.parent / "step_00000003"
    resumed = train_vla(recipe, tmp_path / "again", resume=halfway)
    assert_same(Bundle.load(resumed.checkpoint).weights, Bundle.load(whole.checkpoint).weights)
    totals = [[line["total"] for line in logged(tmp_path / name)] for name in ("again", "run")]
    assert totals[0] == totals[1][3:]
    members = (replace(recipe.data.mixture[0], weight=2.0), recipe.data.mixture[1])
    other = replace(recipe, data=replace(recipe.data, mixture=members))
    with pytest.raises(ValueError, match=r"weights is \[2.0, 1.0\], but \[1.0, 1.0\] in the checkpoint"):
        train_vla(other, tmp_path / "other", resume=halfway)


def test_a_mixture_of_one_learns_what_the_dataset_alone_teaches(tmp_path, root):
    mixed = mixed_recipe(root, (SMALL,), head="flow_matching")
    mixed = replace(mixed, model=replace(mixed.model, robot_state_dim=2, action_dim=3))
    alone = replace(mixed, data=replace(mixed.data, mixture=(), data_directory=str(root / SMALL)))
    one, two = (train_vla(recipe, tmp_path / name) for name, recipe in (("mixed", mixed), ("alone", alone)))
    assert_same(Bundle.load(one.checkpoint).weights, Bundle.load(two.checkpoint).weights)
    lines = [logged(tmp_path / name) for name in ("mixed", "alone")]
    names = ("total", "action_loss", "behavior_cloning", "val_total")
    assert [[line.get(name) for name in names] for line in lines[0]] == [
        [line.get(name) for name in names] for line in lines[1]
    ]


def test_shares_of_processes_joined_are_the_batch_of_one(root):
    prepared = Prepared(mixed_recipe(root))
    mixture = prepared.loader._batches.maker.mixture
    windows = prepared.policy.windows()
    parts = [
        next(iter(SampleLoader(mixture, windows, LoaderConfig(4), seed=0, rank=rank, world_size=2))) for rank in (0, 1)
    ]
    whole = next(iter(prepared.loader))
    assert whole.context.task == parts[0].context.task + parts[1].context.task
    assert torch.equal(whole.seed, torch.cat([part.seed for part in parts]))
    for key, track in {**whole.context.now, **whole.future}.items():
        shares = [{**part.context.now, **part.future}[key] for part in parts]
        assert torch.equal(track.value, torch.cat([share.value for share in shares]))
        assert torch.equal(track.valid, torch.cat([share.valid for share in shares]))


def test_workers_give_the_same_batches(root):
    recipe = mixed_recipe(root)
    here = next(iter(Prepared(recipe).loader))
    recipe = replace(recipe, data=replace(recipe.data, num_workers=2, preload_bytes=0))
    there = next(iter(Prepared(recipe).loader))
    assert here.context.task == there.context.task
    for key, track in here.context.now.items():
        assert torch.equal(track.value, there.context.now[key].value)


@pytest.mark.parametrize("body", [SMALL, LARGE])
def test_training_and_control_see_the_same_observation(root, tmp_path, body):
    prepared = Prepared(mixed_recipe(root))
    loader = prepared.loader._batches.maker
    number = [SMALL, LARGE].index(body)
    index = np.arange(6)
    batch = SampleBatch(np.full_like(index, number), index, torch.from_numpy(index))
    trained = prepared.prepare(collate(loader.mixture, prepared.policy.windows(), batch)).context
    checkpoint = train_vla(
        replace(prepared.recipe, training=replace(prepared.recipe.training, train_steps=1)), tmp_path
    )
    bundle = load_bundle(checkpoint.checkpoint, body)
    transform = TransformPipeline.from_json(bundle.transform)
    source = loader.mixture.sources[number]
    episodes, steps = loader.mixture.locate(number, index)
    builder = ContextBuilder(bundle.windows, bundle.embodiment, len(index))
    for row, (episode, step) in enumerate(zip(episodes.tolist(), steps.tolist(), strict=True)):
        seen = {window.key: source.read(episode, window.key, [step]).value[0] for window in bundle.windows}
        builder.reset(row, source.episode(episode).instruction, seen)
    acted = transform.forward_context(builder.context())
    assert trained.now.keys() == acted.now.keys()
    for key, track in trained.now.items():
        assert torch.equal(track.value, acted.now[key].value)
        assert torch.equal(track.valid, acted.now[key].valid)


def test_the_bundle_knows_each_dataset_and_offline_evaluation_takes_one(root, tmp_path):
    result = train_vla(mixed_recipe(root), tmp_path / "run")
    datasets = Bundle.load(result.checkpoint).provenance["datasets"]
    assert {name: facts["episodes"] for name, facts in datasets.items()} == {SMALL: 4, LARGE: 4}
    with pytest.raises(ValueError, match=r"several datasets; say which with dataset_name=NAME: \['large', 'small'\]"):
        evaluate_offline(result.checkpoint)
    with pytest.raises(ValueError, match="did not learn from a dataset 'larg'; did you mean 'large'"):
        evaluate_offline(result.checkpoint, dataset_name="larg")
    for body, (_, dims) in DIMS.items():
        figures = evaluate_offline(result.checkpoint, dataset_name=body)
        assert (figures["episodes"], figures["samples"], len(figures["dimensions"])) == (1, 9, dims)
        assert 0 <= figures["gripper_accuracy"] <= 1
        assert load_bundle(result.checkpoint, body).embodiment.action_dim == dims
    assert evaluate_offline(result.checkpoint, dataset_name=LARGE, split="all")["samples"] == 36
    load_policy(Bundle.load(result.checkpoint)).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"several datasets; say which with dataset_name=NAME: \['large', 'small'\]"):
        load(tmp_path / "model", transforms_from=result.checkpoint)
    alone = load(tmp_path / "model", transforms_from=result.checkpoint, dataset_name=SMALL)
    assert alone.embodiment == load(result.checkpoint, dataset_name=SMALL).embodiment
    controller = Controller.from_bundle(Bundle.load(result.checkpoint))
    builder = ContextBuilder(controller.windows, controller.embodiment, 1)
    builder.reset(0, "task 0", {STATE: np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="not ''; choose one"):
        controller.act(builder.context(), controller.initial_state(1))


def with_member(recipe: VLARecipe, **options) -> VLARecipe:
    members = (recipe.data.mixture[0], replace(recipe.data.mixture[1], **options))
    return replace(recipe, data=replace(recipe.data, mixture=members))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": {FRONT: SIDE}}, r"has no camera 'observation.images.wrist'; set cameras: .* or to null if it has"),
        ({"cameras": {FRONT: None, WRIST: None}}, "has none of the model's cameras; map one of"),
        ({"cameras": {FRONT: SIDE, WRIST: SIDE}}, "twice; set the other to null"),
        (
            {"cameras": {"observation.images.fron": SIDE}},
            "none of the model's; did you mean 'observation.images.front'",
        ),
        ({"data_directory": "absent"}, "absent: no such file or folder"),
    ],
)
def test_a_member_that_does_not_fit_is_refused_in_one_line(root, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as error:
        train_vla(with_member(mixed_recipe(root), **options), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_names_and_weights_that_make_no_mixture_are_refused(root):
    with pytest.raises(ValueError, match="several datasets are called 'small'; give each another name"):
        mixed_recipe(root, (SMALL, SMALL))
    with pytest.raises(ValueError, match=r"has weight 0\.0, which must be positive"):
        member(root, SMALL, weight=0.0)
    recipe = mixed_recipe(root)
    with pytest.raises(ValueError, match=r"data\.data_directory=here and data\.mixture exclude each other"):
        replace(recipe.data, data_directory="here")


def test_a_body_larger_than_the_model_and_a_gripper_that_is_none_are_refused(root, tmp_path):
    recipe = mixed_recipe(root)
    with pytest.raises(ValueError, match=r"has 5 dimensions, more than the model's 4; set model.action_dim=5"):
        train_vla(replace(recipe, model=replace(recipe.model, action_dim=4)), tmp_path)
    with pytest.raises(ValueError, match=r"more than the model's 4 beside the gripper; set model.action_dim=6"):
        train_vla(with_member(recipe, has_gripper=False), tmp_path)
    with pytest.raises(ValueError, match=r"large has_gripper, but the model has none; set model.has_gripper=true"):
        train_vla(
            with_member(replace(recipe, model=replace(recipe.model, has_gripper=False)), has_gripper=True), tmp_path
        )


def test_a_body_without_a_gripper_takes_part(root, tmp_path):
    """Its own dimensions come first, and the gripper's place stays empty."""
    recipe = mixed_recipe(root)
    members = (replace(recipe.data.mixture[0], has_gripper=False), recipe.data.mixture[1])
    prepared = Prepared(replace(recipe, data=replace(recipe.data, mixture=members)))
    sample = prepared.sample()
    small, large = (sample.context.now[dims_key(ACTION)].value[rows_of(sample, body)][0, 0] for body in DIMS)
    assert small.tolist() == [True, True, True, False, False]
    assert large.all()


def test_a_gripper_that_is_none_is_refused_with_its_remedy(root, tmp_path):
    record_body(tmp_path / LARGE, LARGE, gripper=0.5)
    record_body(tmp_path / SMALL, SMALL)
    with pytest.raises(ValueError, match=r"no gripper in \{-1, \+1\}; set has_gripper: false of it in data\.mixture"):
        train_vla(mixed_recipe(tmp_path), tmp_path / "run")


def test_each_dataset_is_validated_by_itself(root, tmp_path):
    metrics = train_vla(mixed_recipe(root), tmp_path / "run").metrics
    parts = [metrics["val_total_small"], metrics["val_total_large"]]
    assert metrics["val_total"] == pytest.approx(sum(parts) / 2)
    assert parts[0] != parts[1]


def test_other_recipes_than_that_of_a_vla_want_one_dataset(root, tmp_path):
    data = mixed_recipe(root).data
    recipe = replace(tiny_recipe(root / SMALL), data=data)
    with pytest.raises(ValueError, match=r"this recipe trains on one dataset; give data\.data_directory"):
        train_phase(recipe, 1, tmp_path)


def test_a_blind_mixture_acts_without_cameras(root, tmp_path):
    recipe = mixed_recipe(root)
    recipe = replace(recipe, transform=replace(recipe.transform, blind=True))
    checkpoint = train_vla(recipe, tmp_path / "run").checkpoint
    assert torch.equal(act(checkpoint, LARGE), act(checkpoint, LARGE, cameras=False))
