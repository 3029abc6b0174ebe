"""Meta-World's arm as an `Embodiment`; LIBERO's, which datasets need too, is in `timeline.bodies`."""

from tempovla.env.tabletop import ACTION_DIMS, CONTROL_RATE_HZ, STATE_DIMS
from tempovla.timeline import Embodiment

METAWORLD_SAWYER = Embodiment(
    name="metaworld_sawyer",
    state_dim=STATE_DIMS,
    action_dim=ACTION_DIMS,
    rate_hz=CONTROL_RATE_HZ,
    state_names=("hand_x [m]", "hand_y [m]", "hand_z [m]", "gripper_opening [0..1]"),
    action_names=("hand_dx [cm]", "hand_dy [cm]", "hand_dz [cm]", "gripper_effort [-1 open..1 closed]"),
)
