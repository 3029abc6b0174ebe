"""Laws 1, 2 and 5 over every policy."""

import pytest
from tests.contract.registry import POLICIES
from tests.contract.samples import random_contexts, random_sample

from tempovla.timeline import laws, training_windows


@pytest.fixture(scope="module", params=sorted(POLICIES))
def case(request):
    return POLICIES[request.param]


@pytest.fixture(scope="module")
def policy(case):
    """One for all laws, none of which changes it."""
    return case.build()


@pytest.fixture(scope="module")
def sample(case, policy):
    return random_sample(training_windows(policy), case.shapes, rows=3, body=case.body)


@pytest.fixture(scope="module")
def contexts(case, policy):
    return random_contexts(policy.windows(), case.shapes, rows=3, body=case.body)


def test_same_input_gives_same_output(policy, sample):
    laws.check_determinism(policy, sample)


def test_the_future_changes_no_action(case, policy, sample):
    laws.check_future_blindness(policy, sample, action_terms=case.action_terms)


def test_invalid_values_change_nothing(policy, sample):
    laws.check_padding_invariance(policy, laws.with_gaps(sample))


def test_a_reset_row_acts_as_new(policy, contexts):
    laws.check_reset(policy, contexts)


def test_rows_do_not_see_each_other(policy, contexts):
    laws.check_row_independence(policy, contexts[:4])
