"""Which pictures an evaluation needs."""

from __future__ import annotations

from dataclasses import replace

from tempovla.env.protocol import SimulatorConfig
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.timeline import Bundle
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX


def needs_pictures(bundle: Bundle, outputs: Outputs) -> bool:
    """Return whether pictures are seen by the policy, which may blank them all, or are recorded."""
    blank = blank_cameras(bundle)
    prefixes = (IMAGE_KEY_PREFIX, DEPTH_KEY_PREFIX)
    seen = [window.key for window in bundle.windows if window.key.startswith(prefixes)]
    return outputs.recordings is not None or not blank.issuperset(seen)


def blank_cameras(bundle: Bundle) -> set[str]:
    """Return the streams of pictures and of depth that the policy's transforms leave out."""
    steps = bundle.transform.get("steps", ())
    blank = {camera for step in steps if step["name"] == "blank_images" for camera in step.get("cameras", ())}
    depths = [step for step in steps if step["name"] == "resize_depth" and step.get("blank")]
    return blank | {key for step in depths for key in step.get("keys", ())}


def drawn_for(env_config: SimulatorConfig, bundle: Bundle, outputs: Outputs) -> SimulatorConfig:
    """Return the simulator that draws what the policy sees and what is recorded, and nothing else.

    Args:
        env_config: the simulator with the policy's cameras.
        bundle: of the policy.
        outputs: whose recordings may show further cameras.
    """
    if not needs_pictures(bundle, outputs):
        return without_pictures(env_config)
    return replace(env_config, cameras=tuple(dict.fromkeys((*env_config.cameras, *outputs.cameras))))


def without_pictures(env_config: SimulatorConfig) -> SimulatorConfig:
    """Return the simulator without pictures, where its config can leave them out: drawing takes most of the time."""
    return replace(env_config, render=False) if "render" in env_config.__dataclass_fields__ else env_config
