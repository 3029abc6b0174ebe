"""Laws 4 and 5 over every sequence model with a state."""

import pytest
from tests.contract.memory_cases import random_sequence
from tests.contract.registry import MEMORIES

from tempovla.timeline import laws


@pytest.fixture(params=sorted(MEMORIES))
def case(request):
    return MEMORIES[request.param]


def test_single_steps_give_what_the_whole_sequence_gives(case):
    laws.check_streaming_equals_batch(case.build(), random_sequence(case.features))


def test_reset_rows_are_as_new_and_the_others_as_before(case):
    laws.check_state_reset(case.build(), random_sequence(case.features))
