"""The kit catches what it is for: each law has components that break it, and a lawful twin that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.samples import random_contexts, random_sample
from tests.contract.toys import ACTION, FRONT, HORIZON, STATE, ToyMemory, ToyPolicy, ToySource, ToyState
from tests.contract.transform_cases import normalize

from tempovla.timeline import ActionChunk, LossTerm, Reading, Track, Window, laws
from tempovla.timeline.laws import LawViolation
from tempovla.transform.normalize import Normalize

SAMPLE = random_sample(ToyPolicy.windows_wanted, ToyPolicy.shapes)
GAPPY = laws.with_gaps(SAMPLE)
CONTEXTS = random_contexts(ToyPolicy.windows_wanted, ToyPolicy.shapes)
SEQUENCE = torch.randn(4, 8, 5, generator=torch.Generator().manual_seed(0))


class PeeksWhenLearning(ToyPolicy):
    """Its code of now is made with the observation of the next step."""

    def forward(self, sample):
        nudge = sample.future[STATE].value.mean()
        return {
            name: replace(term, prediction=term.prediction + nudge) for name, term in super().forward(sample).items()
        }


class RemembersTheFuture(ToyPolicy):
    """Hands what it saw in training to the next action."""

    seen = 0.0

    def forward(self, sample):
        self.seen = sample.future[ACTION].value.mean()
        return super().forward(sample)

    def act(self, context, state):
        action, state = super().act(context, state)
        return action.map(lambda value: value + self.seen), state


def test_a_prediction_that_looks_ahead_breaks_law_1():
    with pytest.raises(LawViolation, match=r"law 1 .*'action'"):
        laws.check_future_blindness(PeeksWhenLearning(), SAMPLE, action_terms=("action",))


class PeeksAtRewards(ToyPolicy):
    """Its actions are made with the reward that will follow them."""

    windows_wanted = (*ToyPolicy.windows_wanted, Window("next.reward", (0,)))
    shapes = ToyPolicy.shapes | {"next.reward": (1,)}

    def forward(self, sample):
        reward = sample.future["next.reward"].value.mean()
        return {
            name: replace(term, prediction=term.prediction + reward) for name, term in super().forward(sample).items()
        }


class AsksForTheReward(PeeksAtRewards):
    """Looks for it where it acts."""

    def observe(self, context):
        return super().observe(context) + context.track("next.reward").value.mean()


def test_a_prediction_that_knows_its_own_reward_breaks_law_1():
    sample = random_sample(PeeksAtRewards.windows_wanted, PeeksAtRewards.shapes)
    laws.check_future_blindness(PeeksAtRewards(), sample)  # its actions do not change
    with pytest.raises(LawViolation, match=r"law 1 .*'action'"):
        laws.check_future_blindness(PeeksAtRewards(), sample, action_terms=("action",))


def test_no_context_holds_the_reward_that_will_follow():
    sample = random_sample(AsksForTheReward.windows_wanted, AsksForTheReward.shapes)
    with pytest.raises(KeyError, match=r"no stream 'next\.reward' in this context"):
        AsksForTheReward().act(sample.context, AsksForTheReward().initial_state(sample.batch_size))


def test_a_policy_that_smuggles_the_future_breaks_law_1():
    with pytest.raises(LawViolation, match=r"law 1 .*another future"):
        laws.check_future_blindness(RemembersTheFuture(), SAMPLE)


class TrustsInvalidValues(ToyPolicy):
    """Reads observations as if all were valid."""

    def observe(self, context):
        return torch.tanh(self.encoder(context.track(STATE).value.flatten(1)))


class TrainsOnPadding(ToyPolicy):
    """Declares every action valid."""

    def forward(self, sample):
        return {name: replace(term, valid=term.valid | True) for name, term in super().forward(sample).items()}


class MasksTooLate(ToyPolicy):
    """Masks after the encoder: right losses, but the zero gradient meets NaN on its way back."""

    def observe(self, context):
        track = context.track(STATE)
        code = torch.tanh(self.encoder(track.value.flatten(1)))
        return torch.where(track.valid.all(dim=1, keepdim=True), code, 0.0)


@pytest.mark.parametrize("kind", [TrustsInvalidValues, TrainsOnPadding])
def test_a_policy_that_uses_invalid_values_breaks_law_2(kind):
    with pytest.raises(LawViolation, match=r"law 2 .*loss terms with NaN"):
        laws.check_padding_invariance(kind(), GAPPY)


def test_a_policy_that_masks_after_computing_breaks_law_2_in_its_gradient():
    with pytest.raises(LawViolation, match=r"law 2 .*gradients with NaN where invalid: \['encoder.weight'\]"):
        laws.check_padding_invariance(MasksTooLate(), GAPPY)


def test_law_2_wants_a_sample_with_gaps():
    with pytest.raises(ValueError, match="no invalid entry"):
        laws.check_padding_invariance(ToyPolicy(), SAMPLE)


class IgnoresFirst(ToyPolicy):
    def start(self, context, state):
        return state


class ResetsEveryone(ToyPolicy):
    def start(self, context, state):
        return state.reset(context.first.any().expand(len(context.first)))


class ForgetsHalf(ToyPolicy):
    """Resets its memory but not the count that its noise comes from."""

    def start(self, context, state):
        return ToyState(state.reset(context.first).memory, state.decision)


@pytest.mark.parametrize("kind", [IgnoresFirst, ForgetsHalf])
def test_a_policy_that_forgets_a_reset_breaks_law_5(kind):
    with pytest.raises(LawViolation, match=r"law 5 \(reset\): .*against a new start"):
        laws.check_reset(kind(), CONTEXTS)


def test_a_reset_that_neighbours_notice_breaks_law_5():
    with pytest.raises(LawViolation, match=r"law 5 \(reset\): .*the other rows"):
        laws.check_reset(ResetsEveryone(), CONTEXTS)


def test_law_5_wants_two_steps_and_two_rows():
    with pytest.raises(ValueError, match="1 steps of 4 rows"):
        laws.check_reset(ToyPolicy(), CONTEXTS[:1])


class CentresTheBatch(ToyPolicy):
    """Normalises over the rows that happen to be in the batch."""

    def observe(self, context):
        code = super().observe(context)
        return code - code.mean(dim=0)


class NumbersItsRows(ToyPolicy):
    """Its noise depends on which row an episode runs in."""

    def initial_state(self, batch_size):
        return replace(super().initial_state(batch_size), decision=100 * torch.arange(batch_size))

    def start(self, context, state):
        return state


def test_a_policy_that_normalises_over_rows_breaks_law_5():
    with pytest.raises(LawViolation, match=r"law 5 \(row independence\): step 0, row 0 alone"):
        laws.check_row_independence(CentresTheBatch(), CONTEXTS)


def test_a_policy_that_numbers_its_rows_breaks_law_5():
    with pytest.raises(LawViolation, match=r"law 5 \(row independence\): step 0, rows in reverse order"):
        laws.check_row_independence(NumbersItsRows(), CONTEXTS)


class DrawsFromNowhere(ToyPolicy):
    def observe(self, context):
        return super().observe(context) + torch.randn(8)


class EditsItsState(ToyPolicy):
    def act(self, context, state):
        action, after = super().act(context, state)
        state.memory.add_(1.0)
        return action, after


@pytest.mark.parametrize("kind", [DrawsFromNowhere, EditsItsState])
def test_a_policy_that_is_no_function_of_its_input_is_caught(kind):
    with pytest.raises(LawViolation, match="determinism: acting twice"):
        laws.check_determinism(kind(), SAMPLE)


def test_the_lawful_policy_passes_everything():
    laws.check_policy(ToyPolicy(), GAPPY, CONTEXTS)


@pytest.mark.parametrize("kind", [DrawsFromNowhere, RemembersTheFuture, TrainsOnPadding, IgnoresFirst, CentresTheBatch])
def test_check_policy_includes_each_law(kind):
    with pytest.raises(LawViolation):
        laws.check_policy(kind(), GAPPY, CONTEXTS)


class LooksBothWays(ToyMemory):
    def forward(self, x, state):
        outputs, state = super().forward(x, state)
        return outputs + x.mean(dim=1, keepdim=True), state


class DropsItsState(ToyMemory):
    """Returns the state that it was given after a whole sequence."""

    def forward(self, x, state):
        return super().forward(x, state)[0], state


class StepsOffByOne(ToyMemory):
    """Streams the memory from before the step."""

    def step(self, x, state):
        return state.memory, super().step(x, state)[1]

    def forward(self, x, state):
        outputs, after = [], state
        for index in range(x.shape[1]):
            output, after = ToyMemory.step(self, x[:, index], after)
            outputs.append(output)
        return torch.stack(outputs, dim=1), after


@pytest.mark.parametrize(
    ("kind", "what"),
    [(LooksBothWays, "outputs step by step"), (DropsItsState, "state after"), (StepsOffByOne, "outputs step by step")],
)
def test_a_memory_whose_streaming_differs_breaks_law_4(kind, what):
    with pytest.raises(LawViolation, match=f"law 4 .*{what}"):
        laws.check_streaming_equals_batch(kind(), SEQUENCE)


class KeepsOnReset(ToyState):
    def reset(self, rows):
        return self


class WipesOnReset(ToyState):
    def reset(self, rows):
        return super().reset(rows | True)


@pytest.mark.parametrize(
    ("kind", "what"), [(KeepsOnReset, "outputs of reset rows"), (WipesOnReset, "outputs of the other rows")]
)
def test_a_memory_that_resets_wrongly_breaks_law_5(kind, what):
    class Memory(ToyMemory):
        def step(self, x, state):
            output, after = super().step(x, state)
            return output, kind(after.memory, after.decision)

    with pytest.raises(LawViolation, match=rf"law 5 \(reset\): {what}"):
        laws.check_state_reset(Memory(), SEQUENCE)


def slides_at_the_end(source, window):
    """The classic: near the end the window stops moving instead of being clamped and masked."""
    reader = laws.source_reader(source, window)

    def read(episode, step):
        last = source.episode(episode).length - 1 - window.offsets[-1]
        return reader(episode, min(step, last))

    return read


def masks_too_little(source, window):
    """Keeps one step beyond the end as valid."""
    reader = laws.source_reader(source, window)

    def read(episode, step):
        track = reader(episode, step)
        return replace(track, valid=track.offset[None] + step <= source.episode(episode).length)

    return read


def reads_one_late(source, window):
    reader = laws.source_reader(source, window.shift(-1))
    return lambda episode, step: replace(reader(episode, step), offset=torch.tensor(window.offsets))


@pytest.mark.parametrize("broken", [slides_at_the_end, masks_too_little, reads_one_late])
def test_a_window_that_is_off_breaks_law_3(broken):
    source, window = ToySource(), Window(ACTION, tuple(range(4)))
    with pytest.raises(LawViolation, match=r"law 3 \(shift\): window 'action' of episode 0 \(length 7\) at step"):
        laws.check_shift(source, window, read_window=broken(source, window))


def test_a_source_whose_values_depend_on_what_else_is_read_breaks_law_3():
    class ReadsARun(ToySource):
        """Reads one stretch from the first step on, whatever the steps."""

        def read(self, episode, key, steps):
            return super().read(episode, key, range(steps[0], steps[0] + len(steps)))

    with pytest.raises(LawViolation, match="law 3"):
        laws.check_shift(ReadsARun(), Window(STATE, (-4, -2, 0)))


def test_a_source_that_calls_padding_valid_breaks_law_3():
    class AllValid(ToySource):
        def read(self, episode, key, steps):
            value, valid = super().read(episode, key, steps)
            return Reading(value, valid | True)

    with pytest.raises(LawViolation, match=r"law 3 .*valid\[0, 0\]: expected False, got True"):
        laws.check_shift(AllValid(), Window(STATE, (-1, 0)))


def test_a_source_whose_steps_are_not_told_their_own_words_breaks_the_law():
    class TellsTheFirst(ToySource):
        def instructions(self, episode):
            return super().instructions(episode)[:1]

    laws.check_instructions(ToySource(), episodes=range(3))
    with pytest.raises(LawViolation, match=r"number of instructions of episode 0 \(length 7\): .*expected 7, got 1"):
        laws.check_instructions(TellsTheFirst())
    with pytest.raises(LawViolation, match=r"at step 4: .*expected 'pull it out', got 'open the drawer'"):
        laws.check_instructions(ToySource(), read_words=lambda episode, step: "open the drawer")


WINDOWS = (Window(STATE, (-1, 0)), Window(FRONT, (0,)), Window(ACTION, tuple(range(HORIZON))))
RAW = random_sample(WINDOWS, {STATE: (3,), FRONT: (16, 16, 3), ACTION: (2,)})


class ForgetsTheOffset(Normalize):
    def inverse(self, action):
        return ActionChunk(action.value * self.scale["action"], action.valid, action.offset)


class Clips(Normalize):
    def forward(self, context, future):
        context, future = super().forward(context, future)
        return context, {key: track.map(lambda value: value.clamp(-1, 1)) for key, track in future.items()}


@pytest.mark.parametrize("kind", [ForgetsTheOffset, Clips])
def test_a_transform_whose_inverse_is_wrong_breaks_law_6(kind):
    lawful = normalize("mean_std")
    laws.check_inverse(lawful, RAW)
    with pytest.raises(LawViolation, match=r"law 6 \(inverse\): actions there and back"):
        laws.check_inverse(kind(lawful.offset, lawful.scale), RAW)


class UsesTheBatch(Normalize):
    """Standardises by the batch instead of by fitted statistics."""

    def forward(self, context, future):
        return context.map_tracks(lambda _, track: track.map(lambda x: x.float() - x.float().mean())), future


class ActsDifferently(Normalize):
    """Normalises in training only."""

    def forward(self, context, future):
        return super().forward(context, future) if future else (context, future)


@pytest.mark.parametrize("kind", [UsesTheBatch, ActsDifferently])
def test_a_transform_that_training_and_rollout_see_differently_breaks_law_8(kind):
    lawful = normalize("mean_std")
    laws.check_parity(lawful, RAW)
    with pytest.raises(LawViolation, match=r"law 8 \(parity\): observation of row 0"):
        laws.check_parity(kind(lawful.offset, lawful.scale), RAW)


def test_a_rollout_that_builds_another_observation_breaks_law_8():
    contexts = [RAW.context.rows([row]) for row in range(RAW.batch_size)]
    flipped = [
        context.map_tracks(lambda key, track: track.map(lambda x: x.flip(2)) if key == FRONT else track)
        for context in contexts
    ]
    laws.check_parity(normalize("mean_std"), RAW, contexts)
    with pytest.raises(LawViolation, match=r"law 8 \(parity\): .*\['observation.images.front'\].value"):
        laws.check_parity(normalize("mean_std"), RAW, flipped)


def train(legs, *, keep_momentum=True):
    """Gradient descent with momentum on x^4, saved and loaded between legs."""
    position, momentum, losses = torch.tensor(1.0), torch.tensor(0.0), []
    for steps in legs:
        if not keep_momentum:
            momentum = torch.tensor(0.0)
        for _ in range(steps):
            losses.append(position**4)
            momentum = 0.9 * momentum + 4 * position**3
            position = position - 0.01 * momentum
    return {"position": position, "momentum": momentum, "losses": losses}


def test_resuming_without_the_optimiser_breaks_law_7():
    laws.check_resume(train, 3, 4)
    with pytest.raises(LawViolation, match=r"law 7 \(resume\): 3 steps, save, load, 4 steps against 7 steps: "):
        laws.check_resume(lambda legs: train(legs, keep_momentum=False), 3, 4)


def test_a_violation_says_what_where_and_by_how_much():
    term = LossTerm(torch.zeros(2, 3), None, torch.ones(2, dtype=torch.bool))
    other = replace(term, prediction=torch.tensor([[0.0, 0, 0], [0, 0.5, 0.25]]))
    with pytest.raises(LawViolation) as caught:
        laws.expect_equal("law 0 (test)", "two terms", {"a": term}, {"a": other}, tolerance=0.1)
    assert str(caught.value) == (
        "law 0 (test): two terms: ['a'].prediction[1, 1]: expected 0.0, got 0.5 (difference 0.5)"
    )
    assert caught.value.law == "law 0 (test)"
    assert caught.value.difference.amount == 0.5
    laws.expect_equal("law 0 (test)", "two terms", {"a": term}, {"a": other}, tolerance=0.5)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.tensor([0.0, float("nan")])),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [1]),
        ("word", "other"),
        (None, 0.0),
        (torch.tensor(2**62), torch.tensor(2**62 + 1)),
        (Track.of(torch.zeros(1, 2), (0, 1)), Track.of(torch.zeros(1, 2), (1, 2))),
    ],
)
def test_unequal_kinds_shapes_and_values_are_different(expected, actual):
    laws.expect_equal("law 0", "same", expected, expected)
    with pytest.raises(LawViolation):
        laws.expect_equal("law 0", "different", expected, actual)
