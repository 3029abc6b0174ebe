"""Errors of predictions by horizon, counted by hand on worlds whose course is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
import torch
from tests.tiny import FRONT

from tempovla.data.layout import Feature
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.mixture import Mixture
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.predictions import future_actions, prediction_of, prediction_windows, reward_prediction
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.evaluation import predictions as module
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.evaluation.predictions import choose_starts, lacking_streams, measure_predictions, raw_windows
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe
from tempovla.timeline import (
    Bundle,
    Embodiment,
    PredictingPolicy,
    Prediction,
    Reading,
    StreamInfo,
    TimelineSample,
    Window,
)
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart
from tempovla.transform.align import AlignStreams, MissingStream
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import TransformPipeline

BODY = Embodiment("toy", 1, 1, 10.0, ("position",), ("push",))
NOTHING = TransformPipeline([])


def source_of(*positions: list[float], rewards: bool = False, **recorded: Any) -> MemorySource:
    """Episodes of a position that each action is added to; the last action leads nowhere that was recorded."""
    streams = {
        STATE_KEY: StreamInfo("state", (1,), "float32", 10.0),
        ACTION_KEY: StreamInfo("action", (1,), "float32", 10.0),
    }
    if rewards:
        streams[REWARD_KEY] = StreamInfo("scalar", (1,), "float32", 10.0)
    streams |= {key: StreamInfo("image", value.shape[1:], "uint8", 10.0) for key, value in recorded.items()}
    episodes = []
    for course in positions:
        state = np.array(course, np.float32)[:, None]
        values = {STATE_KEY: state, ACTION_KEY: np.diff(state, axis=0, append=state[-1:])}
        values |= {REWARD_KEY: np.arange(len(state), dtype=np.float32)[:, None]} if rewards else {}
        episodes.append(MemoryEpisode("go", len(state), values | recorded))
    return MemorySource("toy", BODY, streams, episodes)


class Adds:
    """A world model of positions: each action is added, times a gain; the gain of 1 is exact."""

    def __init__(self, gain: float = 1.0, stride: int = 1) -> None:
        self.gain, self.prediction_stride = gain, stride

    def prediction_windows(self, horizon: int) -> tuple[Window, ...]:
        return prediction_windows((STATE_KEY,), horizon, self.prediction_stride, rewards=True)

    def predict(self, sample: TimelineSample) -> Mapping[str, Prediction]:
        chunks, done = future_actions(sample, self.prediction_stride)
        actions = chunks.sum(dim=2)
        now = sample.context.now[STATE_KEY].at(0)
        value = now[0][:, None] + self.gain * actions.cumsum(dim=1)
        later = [sample.future[STATE_KEY].at(int(offset)) for offset in sample.future[STATE_KEY].offset]
        before = sample.context.past[STATE_KEY].at(-self.prediction_stride)
        told = {STATE_KEY: prediction_of("state", value, later, now, before, done)}
        return told | reward_prediction(sample, self.prediction_stride, torch.zeros(actions.shape[:2]), now[1], done)


def measured(source: MemorySource, policy: PredictingPolicy | None = None, **options: Any) -> dict[str, Any]:
    return measure_predictions(policy or Adds(), NOTHING, Mixture([source]), "there", **options)


def test_an_exact_model_has_no_error_and_beats_its_baselines():
    figures = measured(source_of([0, 1, 3, 6, 10], [5, 4, 2, -1, -5]), horizon=3)
    assert figures["horizons"] == [1, 2, 3]
    assert (figures["starts"], figures["episodes"], figures["every"]) == (8, 2, 1)
    state = figures["streams"][STATE_KEY]
    assert state["steps"] == [8, 6, 4]
    assert state["mse"] == [0.0, 0.0, 0.0]
    copy, linear = (state["baselines"][name] for name in ("copy", "linear"))
    # One step ahead the positions are 1, 2, 3 and 4 away; two steps ahead 3, 5 and 7, and three steps ahead 6 and 9.
    assert copy["mse"] == pytest.approx([(1 + 4 + 9 + 16) / 4, (9 + 25 + 49) / 3, (36 + 81) / 2])
    assert copy["ratio"] == [0.0, 0.0, 0.0]
    assert copy["ratio_ci95"] == [[0.0, 0.0]] * 3
    # Without a frame before the first one there is no line through both; the steps grow by 1, so lines are 1, 3, 6 off.
    assert linear["steps"] == [6, 4, 2]
    assert linear["mse"] == pytest.approx([1.0, 9.0, 36.0])


def test_a_model_that_takes_it_that_nothing_changes_is_the_copy():
    figures = measured(source_of([0, 1, 3, 6, 10], [5, 4, 2, -1, -5]), Adds(gain=0.0), horizon=3)
    state = figures["streams"][STATE_KEY]
    assert state["mse"] == state["baselines"]["copy"]["mse"]
    assert state["baselines"]["copy"]["ratio"] == [1.0, 1.0, 1.0]
    linear = state["baselines"]["linear"]
    # On the steps that have a frame before: 2, 3 and 4 away, and 1 off.
    assert linear["ratio"][0] == pytest.approx((4 + 9 + 16) / 3)


def test_where_nothing_moves_there_is_no_ratio():
    state = measured(source_of([2, 2, 2, 2]), horizon=2)["streams"][STATE_KEY]
    assert state["baselines"]["copy"]["mse"] == [0.0, 0.0]
    assert state["baselines"]["copy"]["ratio"] == [None, None]
    assert state["mse_ci95"] == [None, None]  # one episode leaves no spread


def test_intervals_come_from_the_spread_over_episodes():
    source = source_of([0, 1, 2, 3], [0, 2, 4, 6], [0, 3, 6, 9])
    state = measured(source, Adds(gain=0.0), horizon=1)["streams"][STATE_KEY]
    assert state["mse"] == pytest.approx([(1 + 4 + 9) / 3])
    low, high = state["mse_ci95"][0]
    assert 1.0 <= low < 14 / 3 < high <= 9.0
    assert state["baselines"]["copy"]["ratio_ci95"] == [[1.0, 1.0]]


class WithHoles:
    """A source one of whose streams is unknown at a step, with NaN in its place."""

    def __init__(self, source: MemorySource, key: str, step: int) -> None:
        self.source, self.key, self.step = source, key, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def read_many(self, key: str, episodes: Any, steps: Any) -> Reading:
        reading = self.source.read_many(key, episodes, steps)
        if key != self.key:
            return reading
        unknown = steps == self.step
        return Reading(np.where(unknown[..., None], np.float32(np.nan), reading.value), reading.valid & ~unknown)


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        # The states are those of steps 0 to 5. Neither a start at step 3 nor a target there counts.
        (STATE_KEY, [3, 2, 2]),
        # Nothing counts that the action of step 3 leads to: what counts are the starts 0, 1, 2, 4, then 0, 1, then 0.
        (ACTION_KEY, [4, 2, 1]),
    ],
)
def test_what_is_invalid_does_not_count(key, steps):
    source = WithHoles(source_of([0, 1, 3, 6, 10, 15]), key, 3)
    state = measured(source, horizon=3)["streams"][STATE_KEY]
    assert state["steps"] == steps
    assert state["mse"] == [0.0, 0.0, 0.0]
    assert all(np.isfinite(state["baselines"]["copy"]["mse"]))


def test_rewards_stand_beside_the_last_one_and_their_mean():
    """Rewards are 0, 1, 2, 3 and 4; the model always says 0."""
    reward = measured(source_of([0, 1, 2, 3, 4], rewards=True), horizon=2)["streams"][REWARD_KEY]
    # From the starts 0 to 3: next rewards are 0 to 3, and those after them 1 to 4.
    assert reward["steps"] == [4, 4]
    assert reward["mse"] == pytest.approx([(0 + 1 + 4 + 9) / 4, (1 + 4 + 9 + 16) / 4])
    last, mean = (reward["baselines"][name] for name in ("last", "mean"))
    assert last["steps"] == [3, 3]  # nothing was rewarded before the first start
    assert last["mse"] == pytest.approx([1.0, 4.0])
    assert mean["mse"] == pytest.approx([(4 + 1 + 0 + 1) / 4, (1 + 0 + 1 + 4) / 4])


def test_a_dataset_without_rewards_has_no_figures_of_them():
    assert measured(source_of([0, 1, 2]), horizon=1)["streams"].keys() == {STATE_KEY}


def test_horizons_are_multiples_of_the_stride():
    figures = measured(source_of(list(range(20)), list(range(19))), Adds(stride=4))
    assert figures["horizons"] == [4, 8, 12]
    assert figures["stride"] == 4
    assert figures["streams"][STATE_KEY]["mse"] == [0.0, 0.0, 0.0]


def test_starts_are_spread_and_follow_from_the_data(monkeypatch):
    source = source_of(list(range(500)), list(range(40)))
    monkeypatch.setattr(module, "MOST_STARTS", 60)
    apart = choose_starts(source, [0, 1], 3, 3, decision=3)
    assert (apart.steps % 3 == 0).all()
    assert apart.every % 3 == 0
    starts = choose_starts(source, [0, 1], 1, None)
    assert (starts.every, starts.horizon) == (9, 15)
    assert len(starts.steps) == 61
    assert starts.steps[starts.episodes == 1].tolist() == [0, 9, 18, 27, 36]
    assert starts.steps[starts.episodes == 0].max() < 499


@pytest.mark.parametrize(("length", "stride", "horizon"), [(10, 1, 9), (10, 4, 8), (40, 1, 15), (40, 20, 20)])
def test_the_horizon_is_15_or_what_episodes_and_stride_admit(length, stride, horizon):
    assert choose_starts(source_of(list(range(length))), [0], stride, None).horizon == horizon


@pytest.mark.parametrize(
    ("stride", "horizon", "message"),
    [
        (1, 10, "horizon=10 is longer than every episode of toy, the longest of which has 10 control steps; use "),
        (4, 6, "horizon=6 is no multiple of 4, the control steps from one prediction of this policy to the next; use "),
        (4, 2, "use horizon=4"),
        (10, None, "toy: its longest episode has 10 control steps, but a prediction of this policy takes 11; name a "),
    ],
)
def test_a_horizon_that_does_not_fit_is_refused_with_one_that_does(stride, horizon, message):
    with pytest.raises(ValueError, match=message) as refused:
        choose_starts(source_of(list(range(10)), list(range(5))), [0, 1], stride, horizon)
    assert "\n" not in str(refused.value)


def test_a_prediction_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"there: predicts observation\.state that is not finite; give a shorter"):
        measured(source_of([0, 1, 2]), Adds(gain=torch.inf))


def test_a_dataset_with_its_own_names_is_read_under_them():
    part = StreamPart("position", size=1, start=0, stop=1)
    aligned = AlignStreams(names={"joints": STATE_KEY})
    joined = JoinStreams({"joints": ((part,),)})
    windows = raw_windows(TransformPipeline([joined, aligned]), Adds().prediction_windows(2))
    assert {window.key: window.offsets for window in windows} == {
        "position": (-1, 0, 1, 2),
        ACTION_KEY: (-1, 0, 1),
        REWARD_KEY: (-1, 0, 1),
    }


def test_a_body_without_a_stream_that_is_read_is_known():
    lacks = AlignStreams(missing={STATE_KEY: MissingStream((1,), (0,), "float32")})
    assert lacking_streams(TransformPipeline([lacks]), Adds()) == [STATE_KEY]
    assert lacking_streams(NOTHING, Adds()) == []


class Decodes(Adds):
    """Decodes a picture that is as bright as the position."""

    def prediction_windows(self, horizon: int) -> tuple[Window, ...]:
        return (*super().prediction_windows(horizon), Window(FRONT, tuple(range(-2, horizon + 1))))

    def predict(self, sample: TimelineSample) -> Mapping[str, Prediction]:
        state = super().predict(sample)[STATE_KEY]
        grey = (state.value / 10.0)[..., None, None].expand(*state.value.shape[:2], 3, 4, 4)
        track = sample.future[FRONT]
        later = [(track.value[:, i].float() / 255.0, track.valid[:, i]) for i in range(track.length)]
        now = later[0][0], state.has_now
        done = state.valid
        return {STATE_KEY: state, FRONT: prediction_of("picture", grey, later, now, now, done)}


class Chw:
    """Pictures as models see them."""

    def forward(self, context: Any, future: Any) -> tuple[Any, Any]:
        def turned(key: str, track: Any) -> Any:
            return track.map(lambda x: x.permute(0, 1, 4, 2, 3)) if key == FRONT else track

        return context.map_tracks(turned), {key: turned(key, track) for key, track in future.items()}

    def inverse(self, action: Any) -> Any:
        return action


def test_videos_show_what_was_seen_and_then_truth_imagination_and_difference(tmp_path):
    course = [float(i % 8) for i in range(30)]
    front = np.broadcast_to((np.array(course) * 25.5).round()[:, None, None, None], (30, 4, 4, 3)).astype(np.uint8)
    source = source_of(course, **{FRONT: front})
    pipeline = TransformPipeline([Chw()])
    figures = measure_predictions(Decodes(), pipeline, Mixture([source]), "there", horizon=3, videos=tmp_path / "films")
    index = json.loads((tmp_path / "films/index.json").read_text())
    assert figures["videos"] == len(index) == 4
    assert [entry["camera"] for entry in index] == [FRONT] * 4
    entry = index[1]
    with av.open(tmp_path / "films" / entry["file"]) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 3 + 3  # two of the past, the present, and three that are imagined
    panels = [[frame[150, x].mean() for x in (128, 392, 656)] for frame in frames]
    step = entry["step"]
    brightness = [front[step + offset, 0, 0, 0] for offset in range(-2, 4)]
    assert [panel[0] for panel in panels] == pytest.approx(brightness, abs=8)
    assert [panel[1] for panel in panels[3:]] == pytest.approx(brightness[3:], abs=8)
    assert [panel[2] for panel in panels[3:]] == pytest.approx([0, 0, 0], abs=4)


def test_a_model_that_decodes_no_camera_writes_no_video(tmp_path):
    assert measured(source_of([0, 1, 2, 3]), videos=tmp_path / "films")["videos"] == 0
    assert not (tmp_path / "films").exists()


FEATURES = {
    STATE_KEY: Feature("float32", (3,)),
    ACTION_KEY: Feature("float32", (2,)),
    REWARD_KEY: Feature("float32", (1,)),
}


def record(root: Path, features: dict[str, Feature] = FEATURES, length: int = 12) -> Path:
    random = np.random.default_rng(0)
    with DatasetWriter(root, features, 10.0, robot_type="toy") as writer:
        for _ in range(2):
            frames = {
                key: random.normal(size=(length, *each.shape)).astype("float32") for key, each in features.items()
            }
            writer.add_episode(frames, "go")
    return root


def checkpoint_of(folder: Path, algorithm: Literal["tdmpc", "dreamer"] = "tdmpc", **recipe: Any) -> Path:
    """Save an untrained policy as training does."""
    sizes = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 12, "num_values": 2, "bins": 11}
    rssm = RSSMConfig(state_dim=8, hidden_dim=8, variables=3, classes=4, num_layers=1, bins=11)
    model = WorldModelConfig(
        algorithm,
        robot_state_dim=3,
        action_dim=2,
        planner=PlannerConfig(num_samples=16, num_elites=4, iterations=1, num_policy_samples=0),
        tdmpc=TDMPCConfig(dynamics=LatentDynamicsConfig(**sizes)),
        dreamer=DreamerConfig(rssm, sequence_length=6, hidden_dim=8, num_layers=1),
    )
    policy, body = WorldModelPolicy(model), Embodiment("toy", 3, 2, 10.0)
    facts = {"dataset": "toy", "recipe": config_to_json(WorldModelRecipe(model=model, **recipe))}
    windows, config = policy.windows(), config_to_json(model)
    Bundle(policy.kind, config, windows, body, {"steps": []}, policy.state_dict(), facts).save(folder)
    return folder


@pytest.fixture
def online(tmp_path) -> Path:
    """A checkpoint of a policy that learns in a simulator."""
    return checkpoint_of(tmp_path / "checkpoint", online=OnlineConfig(env="dmc", task="cartpole-swingup"))


@pytest.mark.parametrize("algorithm", ["tdmpc", "dreamer"])
def test_a_policy_that_learned_from_a_dataset_is_measured_by_its_actions_as_well(tmp_path, algorithm):
    data = record(tmp_path / "recorded")
    checkpoint = checkpoint_of(tmp_path / "checkpoint", algorithm, data=DataConfig(data_directory=str(data)))
    figures = evaluate_offline(checkpoint, split="all", device="cpu")
    assert figures["dimensions"].keys() == {"action 0", "action 1"}
    assert figures["steps"] == figures["samples"] == 24
    assert figures["predictions"]["horizons"] == list(range(1, 12))
    compared = {"tdmpc": "latent", "dreamer": STATE_KEY}[algorithm]
    assert figures["predictions"]["streams"].keys() == {compared, REWARD_KEY}


def test_a_policy_that_learned_in_a_simulator_is_measured_by_its_predictions_alone(online, tmp_path):
    figures = evaluate_offline(online, data=record(tmp_path / "recorded"), split="all", horizon=4, device="cpu")
    assert "dimensions" not in figures
    assert figures["episodes"] == 2
    found = figures["predictions"]
    assert found["horizons"] == [1, 2, 3, 4]
    assert found["streams"].keys() == {"latent", REWARD_KEY}
    assert found["streams"]["latent"]["steps"] == [22, 20, 18, 16]
    assert figures == evaluate_offline(online, data=tmp_path / "recorded", split="all", horizon=4, device="cpu")


def test_what_a_policy_that_learned_in_a_simulator_needs_is_told(online, tmp_path):
    with pytest.raises(ValueError, match=r"learned in a simulator and from no dataset; record episodes with `tempovla"):
        evaluate_offline(online, split="all")
    with pytest.raises(ValueError, match=r"no episodes of .*recorded are held out or learned from; use split='all'"):
        evaluate_offline(online, data=record(tmp_path / "recorded"))
    bare = {key: each for key, each in FEATURES.items() if key != STATE_KEY}
    with pytest.raises(ValueError, match=r"'observation\.state'") as refused:
        evaluate_offline(online, data=record(tmp_path / "blind", bare), split="all")
    assert "\n" not in str(refused.value)
    for wrong, message in ((0, "horizon=0 must be at least 1"), (12, "horizon=12 is longer than every episode of ")):
        with pytest.raises(ValueError, match=message):
            evaluate_offline(online, data=tmp_path / "recorded", split="all", horizon=wrong, device="cpu")


def test_the_simulators_own_state_is_read_under_its_key(online, tmp_path):
    key = "observation.environment_state"
    bundle = Bundle.load(online)
    recipe = bundle.provenance["recipe"]
    recipe["model"]["state_key"] = key
    windows = tuple(Window(key if w.key == STATE_KEY else w.key, w.offsets) for w in bundle.windows)
    changed = {"config": {**bundle.config, "state_key": key}, "windows": windows}
    replace(bundle, **changed, provenance=bundle.provenance | {"recipe": recipe}).save(tmp_path / "sees")
    features = {key if name == STATE_KEY else name: each for name, each in FEATURES.items()}
    data = record(tmp_path / "recorded", features | {STATE_KEY: Feature("float32", (1,))})
    figures = evaluate_offline(tmp_path / "sees", data=data, split="all", device="cpu")
    assert figures["predictions"]["horizons"][-1] == 11
