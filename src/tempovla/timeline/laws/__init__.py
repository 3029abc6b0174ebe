"""The eight laws of time as checks to run on your own policy, memory, source or transform.

Each function returns nothing when its law holds and raises `LawViolation`, with figures, when it does not. Put modules
into `eval()` first: dropout and running statistics break most laws by design. `tolerance` is relative to the largest
expected magnitude (or 1); 0 means bit for bit.

=====  =================================================================  ==============================================
law    what holds                                                         checked by
=====  =================================================================  ==============================================
1      changing the future changes no action                              `check_future_blindness`
2      values where `valid` is False change no loss, gradient or action   `check_padding_invariance`
3      the window at t is the window at t+1, moved                        `check_shift`
4      stepping one by one gives what the whole sequence gives            `check_streaming_equals_batch`
5      a reset row behaves as new, and its neighbours do not notice       `check_reset`, `check_state_reset`,
                                                                          `check_row_independence`
6      inverse(forward(action)) = action                                  `check_inverse`
7      N steps, save, load, M steps = N + M steps                         `check_resume`
8      training and rollout see the same observation                      `check_parity`
=====  =================================================================  ==============================================
"""

from tempovla.timeline.laws.memory import RowResettable, SequenceModule, check_state_reset, check_streaming_equals_batch
from tempovla.timeline.laws.perturb import with_gaps
from tempovla.timeline.laws.policy import (
    check_determinism,
    check_future_blindness,
    check_padding_invariance,
    check_policy,
    check_reset,
    check_row_independence,
)
from tempovla.timeline.laws.resume import check_resume
from tempovla.timeline.laws.samples import random_contexts, random_sample
from tempovla.timeline.laws.source import WindowReader, WordReader, check_instructions, check_shift, source_reader
from tempovla.timeline.laws.transform import check_inverse, check_parity
from tempovla.timeline.laws.violation import LawViolation, expect_equal

__all__ = [
    "LawViolation",
    "RowResettable",
    "SequenceModule",
    "WindowReader",
    "WordReader",
    "check_determinism",
    "check_future_blindness",
    "check_instructions",
    "check_inverse",
    "check_padding_invariance",
    "check_parity",
    "check_policy",
    "check_reset",
    "check_resume",
    "check_row_independence",
    "check_shift",
    "check_state_reset",
    "check_streaming_equals_batch",
    "expect_equal",
    "random_contexts",
    "random_sample",
    "source_reader",
    "with_gaps",
]
