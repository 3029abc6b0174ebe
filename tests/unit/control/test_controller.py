"""Control shares its transforms with training, and says what it misses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.line_worlds import BODY as HAND
from tests.line_worlds import policy_of
from tests.tiny import tiny_statevla_config

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.context_policy import with_context
from tempovla.model.vla.statevla import StateVLA
from tempovla.timeline import Bundle, Context, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.blind import BlankImages
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder

BODY = Embodiment("toy", 3, 4, rate_hz=10.0)
CAMERA = "observation.images.front"
CONFIG = tiny_statevla_config(cameras=(CAMERA,))
STATISTICS = {
    "observation.state": {"mean": np.full(3, 5.0), "std": np.full(3, 2.0)},
    "action": {"mean": np.array([10.0, 20.0, 30.0, 0.3]), "std": np.array([1.0, 0.0, 3.0, 0.9])},
}


def bundle(pictures=None) -> Bundle:
    torch.manual_seed(0)
    policy = StateVLA(CONFIG)
    torch.nn.init.normal_(policy.flow_policy.velocity_out.weight)
    modes = {"observation.state": NormalizationConfig(), "action": NormalizationConfig(keep=(3,))}
    steps = [pictures or ResizeImages(16), Normalize.fit(STATISTICS, modes), EmbedInstruction(HashedNgramEmbedder(8))]
    transform = TransformPipeline(steps).to_json()
    return Bundle("statevla", config_to_json(CONFIG), policy.windows(), BODY, transform, policy.state_dict())


def observation(row: int, *, camera: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(row)
    seen = {"observation.state": random.normal(size=3).astype(np.float32)}
    return seen | ({CAMERA: random.integers(0, 256, (32, 48, 3), np.uint8)} if camera else {})


def contexts(rows: int, **options) -> ContextBuilder:
    builder = ContextBuilder(bundle().windows, BODY, rows)
    for row in range(rows):
        builder.reset(row, f"open drawer {row}", observation(row, **options))
    return builder


def test_actions_come_in_the_robots_units_with_the_gripper_as_it_is():
    controller = Controller.from_bundle(bundle())
    context = contexts(3).context()
    chunk, _ = controller.act(context, controller.initial_state(3))
    policy, transform = controller.policy, controller.transform
    with torch.no_grad():
        normalised, _ = policy.act(transform.forward_context(context), policy.initial_state(3))
    expected = normalised.value * torch.tensor([1.0, 1.0, 3.0, 1.0]) + torch.tensor([10.0, 20.0, 30.0, 0.0])
    torch.testing.assert_close(chunk.value, expected)
    assert chunk.value.shape == (3, 5, 4)
    assert set(chunk.value[..., 3].unique().tolist()) <= {-1.0, 1.0}


def test_a_saved_bundle_acts_as_the_one_that_was_saved(tmp_path):
    made = bundle()
    made.save(tmp_path / "bundle")
    context = contexts(2).context()
    first, second = (Controller.from_bundle(b) for b in (made, Bundle.load(tmp_path / "bundle")))
    expected, _ = first.act(context, first.initial_state(2))
    actual, _ = second.act(context, second.initial_state(2))
    assert torch.equal(expected.value, actual.value)
    assert not second.policy.training


def test_a_row_acts_alone_as_it_does_among_others():
    controller = Controller.from_bundle(bundle())
    context = contexts(4).context()
    together, _ = controller.act(context, controller.initial_state(4))
    alone, _ = controller.act(context.rows([2]), controller.initial_state(1))
    torch.testing.assert_close(alone.value, together.value[2:3], atol=1e-5, rtol=1e-5)


def test_a_missing_camera_is_named():
    controller = Controller.from_bundle(bundle())
    with pytest.raises(ValueError, match=rf"needs streams \['{CAMERA}'\], but is given \['observation.state'\]"):
        controller.act(contexts(2, camera=False).context(), controller.initial_state(2))


def moved_state(context: Context, part: str, offset: int) -> Context:
    """The context with the state of now in this part of it, at this offset."""
    now = dict(context.now)
    state = now.pop(STATE_KEY)
    tracks = {STATE_KEY: replace(state, offset=torch.tensor([offset]))}
    return replace(context, **({"now": now, "past": tracks} if part == "past" else {"now": now | tracks}))


@pytest.mark.parametrize(("part", "offset"), [("past", -1), ("past", 0), ("now", -1)])
def test_a_stream_that_is_given_in_another_place_is_named_with_that_place(part, offset):
    controller = Controller.from_bundle(bundle())
    told = rf"reads stream 'observation.state' in .*`now` at offset 0, but is given it in `{part}` at \[{offset}\]; put"
    with pytest.raises(ValueError, match=told):
        controller.act(moved_state(contexts(2).context(), part, offset), controller.initial_state(2))


def test_a_bundle_that_lost_its_transforms_or_steps_of_a_window_is_refused():
    whole = bundle()
    controller = Controller.from_bundle(replace(whole, transform={"steps": whole.transform["steps"][:2]}))
    with pytest.raises(ValueError, match=r"steps in transform\.json do not give 'language' as its policy reads"):
        controller.act(contexts(2).context(), controller.initial_state(2))
    damaged = tuple(replace(w, offsets=(-7,)) if w.key == STATE_KEY else w for w in whole.windows)
    controller = Controller.from_bundle(replace(whole, windows=damaged))
    moved = moved_state(contexts(2).context(), "now", -7)
    with pytest.raises(ValueError, match=r"windows in bundle\.json .* do not give .*copy the checkpoint again"):
        controller.act(moved, controller.initial_state(2))


def test_a_blind_policy_needs_no_camera_and_ignores_one():
    controller = Controller.from_bundle(bundle(BlankImages((CAMERA,), 16)))
    without, _ = controller.act(contexts(2, camera=False).context(), controller.initial_state(2))
    with_camera, _ = controller.act(contexts(2).context(), controller.initial_state(2))
    assert torch.equal(without.value, with_camera.value)


def test_weights_that_do_not_fit_are_named():
    made = bundle()
    fewer = {key: value for key, value in made.weights.items() if key != "encoder.tokenizer.cls"}
    with pytest.raises(ValueError, match=r"statevla: lacks weight 'encoder.tokenizer.cls'"):
        Controller.from_bundle(replace(made, weights=fewer))
    with pytest.raises(ValueError, match=r"statevla: has weight 'zz' of another model"):
        Controller.from_bundle(replace(made, weights={**made.weights, "zz": torch.zeros(1)}))
    other = {**made.weights, "encoder.tokenizer.cls": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"weight 'encoder.tokenizer.cls' is \(3,\), but \(8,\) in the model"):
        Controller.from_bundle(replace(made, weights=other))
    with pytest.raises(ValueError, match="policy 'other' is unknown; registered are"):
        Controller.from_bundle(replace(made, policy="other"))


def test_a_policy_in_a_context_says_its_stride_and_one_of_single_frames_has_none():
    torch.manual_seed(0)
    context = ContextConfig(memory={"kind": "working", "memory_slots": 2, "num_heads": 2}, stride=3)
    config = replace(CONFIG, context=context)
    policy = with_context(StateVLA(config))
    made = replace(bundle(), config=config_to_json(config), windows=policy.windows(), weights=policy.state_dict())
    assert Controller.from_bundle(made).frame_stride == 3
    assert Controller.from_bundle(bundle()).frame_stride is None


def test_the_first_decision_of_a_saved_bundle_that_lost_a_transform_names_the_folder(tmp_path):
    whole = bundle()
    lost = replace(whole, transform={"steps": whole.transform["steps"][1:]})
    lost.save(tmp_path / "lost")
    context = contexts(2).context()
    saved, made = Controller.from_bundle(Bundle.load(tmp_path / "lost")), Controller.from_bundle(lost)
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'lost'}: its policy cannot take .*copy the checkpoint again$"):
        saved.act(context, saved.initial_state(2))
    with pytest.raises(RuntimeError, match="channels"):
        made.act(context, made.initial_state(2))


def test_later_decisions_keep_their_own_errors(tmp_path):
    bundle().save(tmp_path / "bundle")
    controller = Controller.from_bundle(Bundle.load(tmp_path / "bundle"))
    context = contexts(2).context()
    controller.act(context, controller.initial_state(2))
    controller.policy.act = lambda context, state: torch.zeros(2) + torch.zeros(3)
    with pytest.raises(RuntimeError, match="must match the size"):
        controller.act(context, controller.initial_state(2))


def test_a_context_made_by_hand_with_nan_moves_nothing():
    controller = Controller.from_bundle(bundle())
    context = contexts(2).context()
    state = context.now["observation.state"]
    value = state.value.clone()
    value[1, 0, 2] = torch.inf
    now = {**context.now, "observation.state": state.with_value(value)}
    with pytest.raises(ValueError, match=r"row 1 has inf in dimension 2 of 'observation.state'; give finite numbers"):
        controller.act(replace(context, now=now), controller.initial_state(2))
    now["unread"] = state.with_value(value)
    now["observation.state"] = state
    chunk, _ = controller.act(replace(context, now=now), controller.initial_state(2))
    assert bool(chunk.value.isfinite().all())


def test_actions_that_are_not_finite_move_nothing():
    controller = Controller.from_bundle(bundle())
    with torch.no_grad():
        controller.policy.flow_policy.velocity_out.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"^the policy: gives nan in dimension 0 at step 0 of the chunk of row 0"):
        controller.act(contexts(2).context(), controller.initial_state(2))


def test_plans_come_in_the_robots_units_with_what_is_done():
    policy, scale = policy_of(), torch.tensor([4.0, 0.5])
    scaling = Normalize({ACTION_KEY: torch.zeros(2)}, {ACTION_KEY: scale})
    transform = TransformPipeline([scaling])
    known = Bundle("world-model", config_to_json(policy.config), policy.windows(), HAND, transform.to_json(), {})
    controller = Controller(policy, transform, known)
    builder = ContextBuilder(controller.windows, HAND, 2)
    for row in range(2):
        builder.reset(row, "go left", {STATE_KEY: np.full(1, 0.3 * row, np.float32)})
    state = controller.with_seeds(controller.initial_state(2), [1, 2])
    acted, _ = controller.act(builder.context(), state)
    chunk, _, told = controller.tell(builder.context(), state)
    assert torch.equal(chunk.value, acted.value)
    assert torch.equal(told.actions[:, 0], chunk.value[:, 0])
    torch.testing.assert_close(told.actions, scale * policy.tell(builder.context(), state)[2].actions)
