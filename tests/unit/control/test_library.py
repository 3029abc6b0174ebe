"""A library: a dataset as the policy's own features see it, and what is no library for a policy is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import CONTEXTS, in_context, remembering, seeded
from tests.contract.toys import FRONT
from tests.gripper_recordings import ACTION, STATE, WRIST, record
from tests.tiny import tiny_vla_config

from tempovla.control.controller import Controller
from tempovla.control.library import encode_episodes, give_library, hold, library_sha256, shared_episode
from tempovla.data.episodic import EpisodicMemory
from tempovla.data.lerobot import open_dataset
from tempovla.data.selection import select
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.model.vla.vla_model import VLAModel
from tempovla.timeline import Bundle, Context, Embodiment, Track
from tempovla.timeline.config import config_to_json
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

BODY, STRIDE, STEPS = Embodiment("toy", 3, 3, 10.0), 2, 9
KEYS = (STATE, ACTION)


@pytest.fixture
def dataset(tmp_path):
    return record(tmp_path / "dataset")


@pytest.fixture
def transform(dataset) -> TransformPipeline:
    statistics = {key: open_dataset(dataset).statistics[key] for key in KEYS}
    fit = {STATE: NormalizationConfig(), ACTION: NormalizationConfig("mean_std", (2,))}
    words = TokenizeInstruction(WordTokenizer(16), 6)
    return TransformPipeline([ResizeImages(16), Normalize.fit(statistics, fit), words])


def build(kind: str = "retrieval") -> ContextPolicy:
    model = remembering(**CONTEXTS[kind]) | {"action_dim": 3}
    return seeded(lambda: in_context(VLAModel(tiny_vla_config("mlp", **model))))


def controller(transform: TransformPipeline, policy: ContextPolicy) -> Controller:
    fields = config_to_json(policy.config)
    return Controller(policy, transform, Bundle("vla", fields, policy.windows(), BODY, {}, {}, origin="run"))


def test_every_frame_is_what_the_policy_sees_there_and_the_actions_until_the_next(dataset, transform):
    policy, source = build(), open_dataset(dataset)
    memory = encode_episodes(source, policy, transform)
    steps = memory.get_all_transitions()
    assert len(memory) == 4
    assert steps["step"].tolist() == 4 * [0, 1, 2, 3, 4]  # of 9 steps every second one
    assert steps["done"].tolist() == 4 * [False, False, False, False, True]
    episode, frame = 2, 3
    seen = {
        key: Track.of(torch.from_numpy(source.read(episode, key, [frame * STRIDE]).value)[None], [0])
        for key in (STATE, FRONT, WRIST)
    }
    tasks = select(source, None, None).instructions(episode)
    context = Context({}, seen, (replace_words(tasks[0]),), torch.tensor([False]))
    expected, observed = policy.summarize(transform.forward_context(context))
    chosen = (steps["episode"] == episode) & (steps["step"] == frame)
    assert observed.all()
    np.testing.assert_allclose(steps["obs"][chosen], expected.numpy(), atol=1e-5)
    raw = source.read(episode, ACTION, [6, 7]).value
    normalize = next(step for step in transform.steps if isinstance(step, Normalize))
    done = normalize.normalized(ACTION, torch.from_numpy(raw)).flatten().numpy()
    np.testing.assert_allclose(steps["action"][chosen][0], done, atol=1e-6)
    last = steps["action"][(steps["episode"] == episode) & (steps["step"] == 4)][0]
    assert (last[3:] == 0).all()  # step 9 lies beyond the end
    assert (last[:3] != 0).any()


def replace_words(words: str):
    from tempovla.timeline import Task

    return Task(words, BODY)


def test_what_is_looked_up_is_what_was_given_last_and_the_file_gives_the_same(tmp_path, dataset, transform):
    policy = build()
    actor, before = controller(transform, policy), library_sha256(policy)
    assert give_library(actor, dataset, {}) == open_dataset(dataset).recording
    encoded = library_sha256(policy)
    assert encoded != before
    assert policy.context.retrieval.valid.sum(1).tolist() == [5, 5, 5, 5]
    memory = encode_episodes(open_dataset(dataset), policy, transform)
    memory.save(tmp_path / "library.safetensors")
    give_library(actor, memory, {})
    assert library_sha256(policy) == encoded
    hold(policy, encode_episodes(select(open_dataset(dataset), 1, None), policy, transform))
    assert policy.context.retrieval.valid.sum(1).tolist() == [5, 5, 0, 0]
    give_library(actor, tmp_path / "library.safetensors", {})
    assert library_sha256(policy) == encoded


def test_an_episode_that_is_trained_on_is_found_in_the_library(tmp_path, dataset):
    source, other = open_dataset(dataset), open_dataset(record(tmp_path / "other", lights=0))
    assert shared_episode(select(source, 1, None), source) == (0, 0)
    copy = shared_episode(source, other)
    assert copy == (0, 0)  # the same actions in the dark


@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_no_library_for_a_policy_is_refused_in_one_line(tmp_path, dataset, transform):
    with pytest.raises(ValueError, match=r"^library=a/b: run looks up no earlier episodes; leave the library out"):
        give_library(controller(transform, build("lstm")), "a/b", {})
    with pytest.raises(ValueError, match=r"^library=a/b: an exported file keeps the library that it was exported with"):
        give_library(object(), "a/b", {})
    actor = controller(transform, build())
    with pytest.raises(ValueError, match=r"^a/b: no such file or folder"):
        give_library(actor, "a/b", {})
    with pytest.raises(ValueError, match=r"^an EpisodicMemory: frames have 3 features and 2 numbers of action, but"):
        give_library(actor, EpisodicMemory(3, 2), {})
    width = actor.policy.context.retrieval.feature_dim
    with pytest.raises(ValueError, match=r"^an EpisodicMemory: holds no finished episode; record some first"):
        give_library(actor, EpisodicMemory(width, 6), {})
    huge = EpisodicMemory(width, 6)
    huge.add_transition(np.full(width, 1e30, np.float32), np.zeros(6, np.float32), reward=0.0, done=True)
    with pytest.raises(ValueError, match=r"^an EpisodicMemory: the library holds numbers of up to 1e\+30, with which"):
        give_library(actor, huge, {})
    many = record(tmp_path / "many", episodes=5)
    with pytest.raises(ValueError, match=r"many: the library has 5 episodes, but context.retrieval.max_episodes=4"):
        give_library(actor, many, {})


def test_the_dataset_of_another_body_is_refused(transform, dataset):
    policy = build()
    policy.base.config = replace(policy.base.config, action_dim=4)
    with pytest.raises(ValueError, match=r"has actions of shape \(3,\), but this policy's are \(4,\); give episodes"):
        encode_episodes(open_dataset(dataset), policy, transform)
