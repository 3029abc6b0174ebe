"""Laws 6 and 8 over every transform."""

import pytest
import torch
from tests.contract.registry import TRANSFORMS
from tests.contract.samples import EMBODIMENT, random_sample
from tests.contract.toys import ACTION, FRONT, STATE, ToySource

from tempovla.timeline import Context, Task, TimelineSample, Track, Transform, Window, laws
from tempovla.timeline.sample import split_tracks

WINDOWS = (
    Window(STATE, (-1, 0, 1)),
    Window(FRONT, (-1, 0, 1)),
    Window(ACTION, (-2, -1, 0, 1, 2, 3)),
)
SHAPES = {STATE: (3,), FRONT: (16, 16, 3), ACTION: (2,)}


@pytest.fixture(params=sorted(TRANSFORMS))
def transform(request):
    return TRANSFORMS[request.param]()


def test_it_keeps_the_protocol(transform):
    assert isinstance(transform, Transform)


def test_actions_come_back(transform):
    laws.check_inverse(transform, laws.with_gaps(random_sample(WINDOWS, SHAPES)))


def test_training_and_rollout_see_the_same(transform):
    laws.check_parity(transform, laws.with_gaps(random_sample(WINDOWS, SHAPES)))


def test_a_window_from_a_source_equals_one_built_from_raw_frames(transform):
    source, episode, step = ToySource(), 2, 4
    task = Task(source.episode(episode).instruction, EMBODIMENT)
    windows = {window.key: laws.source_reader(source, window)(episode, step) for window in WINDOWS}
    past, now, future = split_tracks(windows)
    sample = TimelineSample(Context(past, now, (task,), torch.tensor([False])), future, torch.tensor([0]))

    frame = {key: lambda s, key=key: torch.as_tensor(source.read(episode, key, [s]).value) for key in source.streams}
    done = torch.cat([frame[ACTION](step - 2), frame[ACTION](step - 1)])
    seen = Context(
        past={
            **{key: Track.of(frame[key](step - 1)[None], (-1,)) for key in (STATE, FRONT)},
            ACTION: Track.of(done[None], (-2, -1)),
        },
        now={key: Track.of(frame[key](step)[None], (0,)) for key in (STATE, FRONT)},
        task=(task,),
        first=torch.tensor([True]),
    )
    laws.check_parity(transform, sample, [seen])
