"""The keys of streams, as LeRobot's datasets have them; simulators, datasets, policies and recordings share these.

Nothing here imports torch: simulator workers load this module.
"""

OBSERVATION_PREFIX = "observation."
"""Beginning of the keys of all observations."""
STATE_KEY = OBSERVATION_PREFIX + "state"
ACTION_KEY = "action"
IMAGE_KEY_PREFIX = OBSERVATION_PREFIX + "images."
"""What a camera's name follows in the key of its pictures."""
DEPTH_KEY_PREFIX = OBSERVATION_PREFIX + "depth."
"""What a camera's name follows in the key of its distances."""

LANGUAGE_KEY = "language"
"""The embedded instruction, which no dataset holds: a transform adds it."""
TOKENS_KEY = "instruction_tokens"
"""The instruction's token ids, -1 behind its end: added by a transform, too."""

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


def dims_key(key: str) -> str:
    """Return the key of (B, 1, D) bools: which dimensions of a padded vector are the body's own; no such track: all
    are.
    """
    return f"{key}.dims"
