"""Plans a second of a small TD-MPC2 model: 512 candidates of 15 steps, side by side with other planners.

    pip install --no-deps --target DIR pytorch-mppi arm-pytorch-utilities pytorch-seed \
        stable-worldmodel loguru
    python benchmarks/planning.py [--others DIR] [--json FILE] [--rounds 15]

CPU time on one thread. All planners take turns, and the figures are medians; ratios are medians of the paired ones.
pytorch-mppi and stable-worldmodel get the same model in the same process, in two ways: `plain` by the model's `step`,
reward and value as PyTorch computes them, which is the model as it is trained; and `fast` by the functions that
TempoVLA's own searches use, so that only the searches differ. Neither of them is needed by TempoVLA.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import time
import types
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from tempovla.model.layers.many_rows import for_many_rows
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.dynamics_model import LatentDynamics
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.inverse_planner import InverseDynamicsPlanner
from tempovla.model.world_model.planning.search import search

CANDIDATES, HORIZON, ACTION_DIM, STATE_DIM = 512, 15, 4, 12
D = 128
"""Size of the latent state."""
Plan = Callable[[], Any]


class PlainModel:
    """The model one step at a time, as another planner calls it."""

    def __init__(self, world: LatentDynamics, *, fast: bool) -> None:
        self.world, self.fast = world, fast
        self.prepare()

    def prepare(self) -> None:
        """Take the weights of now."""
        world = self.world
        self._next = world._stepper(CANDIDATES) if self.fast else self._plain_step
        self._reward = for_many_rows(world.reward) if self.fast else world.reward
        self._values = for_many_rows(world.values) if self.fast else world.values
        self._actor = for_many_rows(world.actor) if self.fast else world.actor

    def _plain_step(self, joined: Tensor) -> Tensor:
        return self.world.step(*joined.split([D, ACTION_DIM], dim=-1))

    def step(self, z: Tensor, action: Tensor) -> Tensor:
        """The next states (N, D)."""
        return self._next(torch.cat([z, action], dim=-1))

    def cost(self, z: Tensor, action: Tensor) -> Tensor:
        """Minus the rewards (N,)."""
        return -self.world.two_hot.decode(self._reward(torch.cat([z, action], dim=-1)))

    def last_cost(self, states: Tensor, actions: Tensor) -> Tensor:
        """Minus the values (N,) behind states (1, N, H, D)."""
        z = states[0, :, -1]
        action = self._actor(z).chunk(2, dim=-1)[0].tanh()
        return -self.world.two_hot.decode(self._values(torch.cat([z, action], dim=-1))).mean(dim=0)


def small_world() -> LatentDynamics:
    """The sizes that learn on a CPU, with random weights."""
    torch.manual_seed(0)
    config = LatentDynamicsConfig(latent_dim=D, hidden_dim=256, num_values=2)
    world = LatentDynamics(config, ACTION_DIM, STATE_DIM, inverse_steps=HORIZON).eval()
    for parameter in (*world.reward.linears[-1].parameters(), world.values.weights[-1]):
        torch.nn.init.normal_(parameter, std=0.02)
    return world


def ours(world: LatentDynamics, z: Tensor, kind: str, iterations: int) -> Plan:
    """A search of TempoVLA; the model is prepared anew for each plan, as in control."""
    settings = PlannerConfig(
        kind=kind,  # type: ignore[arg-type]
        horizon=HORIZON,
        num_samples=CANDIDATES,
        iterations=iterations,
        num_policy_samples=0,
    )
    start, seed = torch.zeros(1, HORIZON, ACTION_DIM), torch.tensor([1])
    return lambda: search(settings, world.returns_from(z), start, seed)


def of_pytorch_mppi(world: LatentDynamics, z: Tensor, *, fast: bool) -> Plan:
    """One command of pytorch-mppi, which is one round."""
    from pytorch_mppi import MPPI

    model = PlainModel(world, fast=fast)
    controller = MPPI(
        model.step,
        lambda state, action: model.cost(state, action),
        D,
        torch.eye(ACTION_DIM),
        num_samples=CANDIDATES,
        horizon=HORIZON,
        terminal_state_cost=model.last_cost,
        u_min=-torch.ones(ACTION_DIM),
        u_max=torch.ones(ACTION_DIM),
        lambda_=2.0,
    )

    def command() -> Any:
        model.prepare()
        return controller.command(z[0])

    return command


def of_stable_worldmodel(world: LatentDynamics, z: Tensor, others: Path, *, fast: bool, iterations: int) -> Plan:
    """A solution of stable-worldmodel's CEM."""
    solver_class = _stable_worldmodel_cem(others)
    model = PlainModel(world, fast=fast)

    class Costs(torch.nn.Module):
        """What the solver asks for."""

        def get_cost(self, info: dict[str, Tensor], candidates: Tensor) -> Tensor:
            state, total = info["z"][0], torch.zeros(candidates.shape[1])
            for action in candidates[0].unbind(dim=1):
                total = total + model.cost(state, action)
                state = model.step(state, action)
            return (total + model.last_cost(state[None, :, None], candidates[0]))[None]

    from gymnasium.spaces import Box

    solver = solver_class(Costs(), num_samples=CANDIDATES, n_steps=iterations, topk=64)
    space = Box(-1.0, 1.0, (1, ACTION_DIM))
    solver.configure(action_space=space, n_envs=1, config=types.SimpleNamespace(horizon=HORIZON, action_block=1))

    def solve() -> Any:
        model.prepare()
        with contextlib.redirect_stdout(io.StringIO()):
            return solver({"z": z})

    return solve


def _stable_worldmodel_cem(others: Path) -> Any:
    """The solver's class, without the rest of its package, which needs much more."""
    for name in ("stable_worldmodel", "stable_worldmodel.solver"):
        package = types.ModuleType(name)
        package.__path__ = [str(others / name.replace(".", "/"))]
        sys.modules.setdefault(name, package)
    from stable_worldmodel.solver.cem import CEMSolver

    return CEMSolver


def timed(planners: dict[str, Plan], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of plans that take turns."""
    spent: dict[str, list[float]] = {name: [] for name in planners}
    for turn in range(rounds + 1):
        for name, plan in planners.items():
            before = time.process_time()
            plan()
            if turn:
                spent[name].append(time.process_time() - before)
    return spent


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=Path, metavar="DIR", help="where pytorch-mppi and stable-worldmodel are")
    parser.add_argument("--rounds", type=int, default=15, help="plans of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = small_world()
    with torch.inference_mode():
        z = world.simplex(torch.randn(1, D))
        planners: dict[str, Plan] = {
            f"{kind}, 1 round": ours(world, z, kind, 1) for kind in ("mppi", "cem", "shooting")
        }
        planners |= {f"{kind}, 6 rounds": ours(world, z, kind, 6) for kind in ("mppi", "cem", "icem")}
        inverse, goal = InverseDynamicsPlanner(world), world.simplex(torch.randn(1, D))
        planners["inverse dynamics"] = lambda: inverse.plan(z, goal, HORIZON)
        against: dict[str, str] = {}
        if options.others:
            sys.path.append(str(options.others))
            for name, fast in (("plain", False), ("fast", True)):
                planners[f"pytorch-mppi, {name}"] = of_pytorch_mppi(world, z, fast=fast)
                against[f"pytorch-mppi, {name}"] = "mppi, 1 round"
            if util.find_spec("stable_worldmodel"):
                for name, fast in (("plain", False), ("fast", True)):
                    label = f"stable-worldmodel CEM, 6 rounds, {name}"
                    planners[label] = of_stable_worldmodel(world, z, options.others, fast=fast, iterations=6)
                    against[label] = "cem, 6 rounds"
        spent = timed(planners, options.rounds)
    print(f"{platform.machine()}, python {platform.python_version()}, torch {torch.__version__}, one thread")
    for package in ("pytorch-mppi", "stable-worldmodel"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            print(f"{package} {metadata.version(package)}")
    print(f"{CANDIDATES} candidates of {HORIZON} steps: {'CPU ms':>24}{'plans/s':>10}{'ours is faster':>16}")
    figures = {}
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        figures[name] = {"cpu_s": median, "plans_per_s": 1.0 / median}
        ratio = ""
        if name in against:
            paired = zip(seconds, spent[against[name]], strict=True)
            figures[name]["times_slower"] = statistics.median(other / mine for other, mine in paired)
            ratio = f"{figures[name]['times_slower']:15.2f}x"
        print(f"{name:44}{1e3 * median:15.1f}{1.0 / median:10.1f}{ratio}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
