"""The keys of streams, as LeRobot's datasets have them; simulators, datasets, policies and recordings share these.

Nothing here imports torch: simulator workers load this module.
"""

STATE_KEY = "observation.state"
ACTION_KEY = "action"
IMAGE_KEY_PREFIX = "observation.images."
"""What a camera's name follows in the key of its pictures."""

LANGUAGE_KEY = "language"
"""The embedded instruction, which no dataset holds: a transform adds it."""
TOKENS_KEY = "instruction_tokens"
"""The instruction's token ids, -1 behind its end: added by a transform, too."""

ENCODING_KEY = "encoding"
"""z of an observation, made beforehand by the policy's own encoder; where there is one, pictures are not looked at."""
