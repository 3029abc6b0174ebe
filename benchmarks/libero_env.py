"""What LIBERO costs, ours beside plain hf-libero's OffScreenRenderEnv: a control step, a step with images, a reset.

Run: `python benchmarks/libero_env.py` with TEMPOVLA_LIBERO_ASSETS set. All figures are CPU time of this process and the
medians of repeated, alternating calls; on a busy machine they grow by up to a half and more, the ratios stay.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import mujoco
import numpy as np

from tempovla.env.libero import LiberoConfig, LiberoEnv
from tempovla.env.libero_setup import import_environments, locate_assets
from tempovla.env.libero_suites import initial_states, problem_file

SUITE, TASK = "libero_object", "pick_up_the_butter_and_place_it_in_the_basket"
PLAIN = "plain hf-libero"


def compare(title: str, functions: Mapping[str, Callable[[], object]], repeats: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    print(f"\n{title:44} CPU ms   share of plain")
    for name, median in medians.items():
        print(f"  {name:42} {median:6.1f} {median / medians[PLAIN]:10.2f}")


class Plain:
    """hf-libero's environment as its evaluation uses it; its OpenGL context is made current again before it draws."""

    def __init__(self, image_size: int) -> None:
        environments = import_environments(locate_assets())
        self.env = environments.OffScreenRenderEnv(
            bddl_file_name=str(problem_file(SUITE, TASK)), camera_heights=image_size, camera_widths=image_size
        )
        self.reset()

    def step(self, action: np.ndarray) -> None:
        """One control step with images."""
        context = self.env.env.sim._render_context_offscreen
        context.gl_ctx.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)
        self.env.step(action)

    def show_images(self, shown: bool) -> None:
        """Whether steps draw."""
        for name in ("agentview_image", "robot0_eye_in_hand_image"):
            self.env.env.modify_observable(name, "enabled", shown)

    def reset(self) -> None:
        """As LIBERO's evaluation does."""
        self.env.env.sim._render_context_offscreen.gl_ctx.make_current()
        self.env.reset()
        self.env.set_init_state(initial_states(SUITE, TASK)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("hf-libero", "robosuite", "mujoco", "numpy"))
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}")
    size, repeats, action = arguments.image_size, arguments.repeats, np.full(7, 0.1)

    modes = {
        mode: LiberoEnv(LiberoConfig(SUITE, TASK, image_size=size, rendering=mode, settle_steps=0))
        for mode in ("exact", "fast")
    }
    for env in modes.values():
        env.reset(seed=0, options={"init_state": 0})
    plain = Plain(size)
    print(f"drawn with {os.environ['MUJOCO_GL']}")
    steps = {PLAIN: lambda: plain.step(action)}
    steps |= {f"ours, {mode}": lambda env=env: env.step(action) for mode, env in modes.items()}
    compare(f"a control step and both images, {size} px", steps, repeats)
    plain.show_images(False)
    compare(
        "a control step alone",
        {PLAIN: lambda: plain.env.step(action), "ours": lambda: modes["fast"].advance(action)},
        repeats,
    )
    plain.show_images(True)
    resets = {PLAIN: plain.reset, "ours": lambda: modes["fast"].reset(seed=0, options={"init_state": 0})}
    compare("a reset to a fixed state, with images", resets, max(3, repeats // 10))
    plain.env.close()


if __name__ == "__main__":
    main()
