"""The keys of streams, as LeRobot's datasets have them; simulators, datasets, policies and recordings share these.

Nothing here imports torch: simulator workers load this module.
"""

OBSERVATION_PREFIX = "observation."
"""Beginning of the keys of all observations."""
STATE_KEY = OBSERVATION_PREFIX + "state"
ENVIRONMENT_STATE_KEY = OBSERVATION_PREFIX + "environment_state"
"""What a simulator alone knows, such as where objects are."""
ACTION_KEY = "action"
IMAGE_KEY_PREFIX = OBSERVATION_PREFIX + "images."
"""What a camera's name follows in the key of its pictures."""
DEPTH_KEY_PREFIX = OBSERVATION_PREFIX + "depth."
"""What a camera's name follows in the key of its distances."""
POINTS_KEY_PREFIX = OBSERVATION_PREFIX + "points."
"""What a sensor's name follows in the key of its readings, a set of points of varying number."""
POSE_KEY = OBSERVATION_PREFIX + "pose"
"""Where a vehicle is in the plane: x [m], y [m] and heading [rad] in the frame of the episode's first step."""

OUTCOME_PREFIX = "next."
"""Beginning of the keys of what follows an action: their values at a step are known once its action has been taken."""
REWARD_KEY = OUTCOME_PREFIX + "reward"
"""The simulator's reward for the action, float32 (1,)."""
SUCCESS_KEY = OUTCOME_PREFIX + "success"
"""Whether the task is solved after the action, bool (1,)."""
DONE_KEY = OUTCOME_PREFIX + "done"
"""Whether the episode ends after the action, by success or for want of time, bool (1,): True at the last step."""
TERMINATED_KEY = OUTCOME_PREFIX + "terminated"
"""Whether the world ends with the action, so that no reward follows, bool (1,); not so where only the time is up.

An episode that a simulator ends at its success (`terminate_on_success`) has not ended its world."""
OUTCOME_KEYS = (REWARD_KEY, SUCCESS_KEY, DONE_KEY, TERMINATED_KEY)
"""What a recording in a simulator holds of this kind."""

LANGUAGE_KEY = "language"
"""The embedded instruction, which no dataset holds: a transform adds it."""
TOKENS_KEY = "instruction_tokens"
"""The instruction's token ids, -1 behind its end: added by a transform, too."""

WORDS_KEY = "instruction"
"""The instructions of past control steps, as bytes of UTF-8 with zeros behind their end (B, T, L).

No dataset holds it: a loader makes it of the words of every step, for policies whose instruction changes within an
episode and which learn from sequences. That of the present step is in `Context.task`."""

ENCODING_KEY = "encoding"
"""z of an observation, computed beforehand by the policy's own encoder; the policy then ignores pictures."""

PICTURE_KEY = IMAGE_KEY_PREFIX + "picture"
"""The picture that a conversation is about, which no robot's camera took."""
TEXT_KEY = "text_tokens"
"""Token ids of a conversation, -1 behind its end."""
LEARNED_KEY = "text_is_learned"
"""Which of these tokens are to be predicted: the answers, and what ends them."""
CUT_KEY = "text_is_cut"
"""Whether the conversation was too long and lost its end."""


def is_outcome(key: str) -> bool:
    """Return whether a stream holds what follows actions, such as rewards."""
    return key.startswith(OUTCOME_PREFIX)


def newest_known(key: str) -> int:
    """Return the offset of a stream's newest value that a policy may see when it acts.

    An observation is known at offset 0. The action at offset 0 is still to be chosen, and what follows it is unknown.
    """
    return -1 if key == ACTION_KEY or is_outcome(key) else 0


def dims_key(key: str) -> str:
    """Return the key of (B, 1, D) bools: which dimensions of a padded vector are the body's own; no such track: all
    are.
    """
    return f"{key}.dims"
