r"""Planners with one trained model: return of the same episodes, and plans a second of CPU time.

    python benchmarks/planners.py --checkpoint CKPT --task cartpole-swingup --episodes 10 --seed 3000 --json FILE

The checkpoint is one of `tempovla train world-model --algorithm tdmpc --env dmc`. All planners play the episodes of
`tempovla eval dmc` with the same seed, one at a time, on one thread, and each decision counts with its CPU time. MPPI,
CEM and iCEM search as the model was trained to, and random shooting draws as many candidates in its single round. The
last row puts the true simulator in the model's place: the same search for the real rewards, and the model's value of
the state behind them. Simulating is slow, so it draws fewer candidates, and a model that is searched with more of them
can do better than it. The p-value is that of the sign-flip permutation test of the differences from MPPI, episode by
episode.

Two planners know nothing of rewards, and go towards a goal, which is what was seen after the highest reward in the
run's replay, unless `--goal` names another step: the model's inverse dynamics, and CEM by the distance from the goal in
the latent space. They need a model that was trained with `--model.tdmpc.inverse_dynamics_weight 1`, and are left out
otherwise.

Stopped, the same call goes on; what the JSON file holds is not played again. It has the return of every episode.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from commands import REMEDY, alone_with, exit_code_of
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Actor
from tempovla.control.load_actor import open_policy
from tempovla.env.dm_control import DmControlConfig
from tempovla.env.protocol import SimulatorConfig, SimulatorEnv
from tempovla.env.seeding import episode_seed
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.recipe.evaluation.closed_loop import check_acts_here, repeatable
from tempovla.recipe.evaluation.goal_steps import FORM, REPLAY
from tempovla.recipe.evaluation.goals import GoalBy, GoalOptions, towards_goal
from tempovla.recipe.evaluation.true_simulator import Value, play_with_simulator
from tempovla.rollout.metrics import Bootstrap
from tempovla.rollout.paired import PairedReturns
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import STATE_KEY

Episode = dict[str, float]
"""Of one episode: `return`, `decisions` and the CPU time of these, `cpu_s`."""
DRAWS = 10_000
"""Samples of a bootstrap."""
INVERSE, TOWARDS = "inverse dynamics towards a goal", "CEM towards the same goal"
MPPI, TRUE = "MPPI", "the true simulator"
GOAL_BY: dict[str, GoalBy] = {"goal": "search", "inverse": "inverse_dynamics"}
"""How rows go towards a goal, by their kind."""


@dataclass(frozen=True)
class Planner:
    """One row of the table.

    Attributes:
        kind: `policy` acts without a search, `search` looks for rewards with the model, `goal` and `inverse` go towards
            a goal, and `simulator` looks for rewards with the simulator.
        search: how it searches, or whose horizon it has.
    """

    kind: str
    search: PlannerConfig

    @property
    def candidates(self) -> str:
        """How many candidates there are, and how long they are, in words."""
        search = self.search
        if self.kind == "policy":
            return "1 of 1"
        rounds = "1" if self.kind == "inverse" else f"{search.rounds} x {search.num_samples}"
        return f"{rounds} of {search.horizon}"


def planners_of(model: WorldModelConfig, simulated: int) -> dict[str, Planner]:
    """The rows by name; those towards a goal only where the model has learned inverse dynamics.

    Args:
        model: of the checkpoint.
        simulated: candidates of a round in the true simulator.
    """
    trained, found = model.planner, {"policy alone": Planner("policy", model.planner)}
    once = replace(trained, kind="shooting", num_samples=trained.iterations * trained.num_samples)
    found["random shooting"] = Planner("search", once)
    kinds: dict[str, Any] = {"CEM": "cem", "iCEM": "icem", MPPI: "mppi"}
    found |= {name: Planner("search", replace(trained, kind=kind)) for name, kind in kinds.items()}
    if model.tdmpc.goal_steps:
        far = replace(trained, kind="cem", horizon=max(model.tdmpc.goal_steps))
        found |= {INVERSE: Planner("inverse", far), TOWARDS: Planner("goal", far)}
    few: dict[str, Any] = {"num_samples": simulated, "num_elites": max(1, simulated // 8), "num_policy_samples": 0}
    return found | {TRUE: Planner("simulator", replace(trained, **few))}


def acting(planner: Planner, options: argparse.Namespace, config: SimulatorConfig) -> tuple[Actor, dict[str, Any]]:
    """What acts by a planner that is no simulator, and what the file says of its goal."""
    search = {name: value for name, value in asdict(planner.search).items() if name not in planner.search.unread}
    settings = {"plans": True, "planner": search} if planner.kind != "policy" else {"plans": False}
    opened = open_policy(options.checkpoint, None, config, "cpu", settings)
    if planner.kind not in GOAL_BY:
        return opened.actor(), {}
    goal = GoalOptions(options.goal or options.checkpoint.resolve().parents[1] / REPLAY, by=GOAL_BY[planner.kind])
    actor, said = towards_goal(opened.actor(), goal, opened.bundle)
    return actor, {"goal": said["goal"]["sha256"]}


def played(actor: Actor, env: SimulatorEnv, seed: int) -> Episode:
    """Play an episode as `tempovla eval` does, and count the CPU time of its decisions."""
    builder = ContextBuilder(actor.windows, actor.embodiment, 1)
    observation, _ = env.reset(seed=seed)
    builder.reset(0, env.instruction, observation)
    state = actor.with_seeds(actor.initial_state(1), [seed])
    total, decisions, spent, is_over = 0.0, 0, 0.0, False
    while not is_over:
        before = time.process_time()
        chunk, state = actor.act(builder.context(), state)
        actions = chunk.value[0].numpy()
        spent, decisions = spent + time.process_time() - before, decisions + 1
        for action in actions:
            reward, terminated, truncated, _ = env.advance(action)
            total, is_over = total + float(reward), terminated or truncated
            if is_over:
                break
            builder.add(0, action[None], env.observe())
    return {"return": total, "decisions": decisions, "cpu_s": spent}


def value_of(actor: Any) -> Value | None:
    """The model's value of simulated states (N, D); None if the model reads something else than the state."""
    if actor.policy.observation_keys() != (STATE_KEY,):
        return None
    world = actor.policy.agent.world

    @torch.inference_mode()
    def value(states: Tensor) -> Tensor:
        builder = ContextBuilder(actor.windows, actor.embodiment, len(states))
        for row, state in enumerate(states.numpy()):
            builder.reset(row, "", {STATE_KEY: state})
        z = world.encode(actor.transform.forward_context(builder.context()))
        return world.value(z, world.policy_mean(z)).mean(dim=0)

    return value


def player(
    planner: Planner, options: argparse.Namespace, env: SimulatorEnv
) -> tuple[Callable[[int], Episode], dict[str, Any]]:
    """What plays the episode of a number by a planner, and what the file says of how it does."""
    if planner.kind != "simulator":
        actor, goal = acting(planner, options, env.config)
        seed_of = functools.partial(episode_seed, "evaluate", options.seed, env.task)
        return lambda number: played(actor, env, seed_of(number)), asdict(planner) | goal
    model: Any = open_policy(options.checkpoint, None, env.config, "cpu").actor()
    discount, value = model.policy.config.step_discount, value_of(model)

    def play(number: int) -> Episode:
        (episode,) = play_with_simulator(
            env.config, planner.search, 1, seed=options.seed, first=number, discount=discount, value=value
        )
        spent = episode.plan_cpu_s * episode.steps
        return {"return": episode.total_reward, "decisions": episode.steps, "cpu_s": spent}

    return play, asdict(planner)


class Store:
    """The episodes of one checkpoint, task and seed in a JSON file, which is written after each of them.

    Args:
        path: of the file.
        setting: which episodes of which model.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows by name: how each planned, and its `episodes` by number."""
        return self._read().get(self.setting, {})

    def _read(self) -> dict[str, Any]:
        found = read_json(self.path, remedy=REMEDY) if self.path.exists() else {}
        for rows in found.values():
            for name, row in rows.items() if isinstance(rows, dict) else [("", None)]:
                if not isinstance(row, dict) or not isinstance(row.get("episodes"), dict) or "planner" not in row:
                    raise ValueError(f"{self.path}: {name!r} holds no episodes of a planner; {REMEDY}")
        return found

    def missing(self, name: str, how: Mapping[str, Any], episodes: int) -> list[int]:
        """Numbers of the episodes that a row lacks.

        Raises:
            ValueError: if the row was played in another way.
        """
        row = self.rows.get(name)
        if row is not None and row["planner"] != how:
            raise ValueError(f"{self.path}: {name!r} was played with other settings; {REMEDY}")
        known = {} if row is None else row["episodes"]
        return [number for number in range(episodes) if str(number) not in known]

    def add(self, name: str, how: Mapping[str, Any], number: int, episode: Episode) -> None:
        """Add an episode; others that add to the file at the same time wait for each other."""
        with alone_with(self.path):
            found = self._read()
            row = found.setdefault(self.setting, {}).setdefault(name, {"planner": how, "episodes": {}})
            row["episodes"][str(number)] = episode
            write_text(self.path, json.dumps(found, indent=1) + "\n")


def print_table(rows: Mapping[str, Mapping[str, Any]], planners: Mapping[str, Planner], episodes: int) -> None:
    """The table, in Markdown: the intervals are those of a bootstrap over episodes, and p that of pairs with MPPI."""
    found = {name: [rows[name]["episodes"][str(number)] for number in range(episodes)] for name in planners}
    returns = {name: np.array([episode["return"] for episode in played]) for name, played in found.items()}
    weights = Bootstrap.draw(episodes, DRAWS, 0)
    print(f"| planner | return of {episodes} episodes, 95% interval | p | candidates, steps | plans/s | CPU ms |")
    print("|---|---|---:|---|---:|---:|")
    for name, planner in planners.items():
        low, high = weights.interval(weights.weights @ returns[name] / episodes)
        paired = PairedReturns.of(list(zip(returns[MPPI], returns[name], strict=True)))
        p = "" if name == MPPI else f"{paired.p_value:.2g}"
        each_s = sum(each["cpu_s"] for each in found[name]) / sum(each["decisions"] for each in found[name])
        told = f"{returns[name].mean():.0f} [{low:.0f}, {high:.0f}]"
        print(f"| {name} | {told} | {p} | {planner.candidates} | {1.0 / each_s:.1f} | {1e3 * each_s:.1f} |")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options.

    Raises:
        ValueError: if a number is none of episodes or candidates.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="of tempovla train world-model in dmc")
    parser.add_argument("--task", required=True, help="of DeepMind Control, that of the training")
    parser.add_argument("--episodes", type=int, default=10, help="of each planner")
    parser.add_argument("--seed", type=int, default=3000, help="of the episodes, as of tempovla eval")
    parser.add_argument("--json", required=True, type=Path, help="file of all episodes; what it holds is not played")
    parser.add_argument("--goal", help=f"{FORM}, as of tempovla eval; by default the run's replay")
    parser.add_argument(
        "--simulator-candidates", type=int, default=32, help="of each round in the true simulator; 0 leaves it out"
    )
    options = parser.parse_args(arguments)
    for name, least in (("episodes", 1), ("seed", 0), ("simulator_candidates", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name.replace('_', '-')}={getattr(options, name)} must be at least {least}")
    return options


def model_of(bundle: Bundle, checkpoint: Path) -> WorldModelConfig:
    """The config of a checkpoint's world model.

    Raises:
        ValueError: if it is of another policy than TD-MPC2.
    """
    policy = bundle.policy if bundle.policy != "world-model" else bundle.config["algorithm"]
    if policy != "tdmpc":
        raise ValueError(f"--checkpoint={checkpoint}: of {policy!r}; give one of train world-model --algorithm tdmpc")
    return config_from_json(WorldModelConfig, bundle.config, "model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Play what is missing, and print the table.

    Raises:
        ValueError: in one line, if an option is wrong, or a file is damaged.
    """
    options = options_of(arguments)
    opened = open_policy(options.checkpoint, None, None, "cpu")
    model = model_of(opened.bundle, options.checkpoint)
    DmControlConfig().check_task(options.task)
    recording = opened.bundle.provenance.get("recording", {})
    config = replace(DmControlConfig.from_recording(recording, "dmc"), task=options.task, render=bool(model.cameras))
    check_acts_here(opened.bundle, str(options.checkpoint), config)
    planners = planners_of(model, max(options.simulator_candidates, 1))
    if not options.simulator_candidates:
        del planners[TRUE]
    sha = opened.identity["checkpoint_sha256"]
    store = Store(options.json, f"{options.task}, seed {options.seed}, checkpoint {sha[:12]}")
    with repeatable():
        env = config.make()  # the same for all rows: an episode depends on its seed alone
        players = {name: player(planner, options, env) for name, planner in planners.items()}  # refused before a play
        for name, (play, how) in players.items():
            for number in store.missing(name, how, options.episodes):
                episode = play(number)
                store.add(name, how, number, episode)
                print(f"{name}, episode {number}: {episode['return']:.1f}", file=sys.stderr)
    print(f"{platform.machine()}, python {platform.python_version()}, torch {torch.__version__}, one thread")
    print_table(store.rows, planners, options.episodes)
    if TOWARDS not in planners:
        print(
            "\nThe model has learned no inverse dynamics, so the rows towards a goal are left out; train one with "
            "--model.tdmpc.inverse_dynamics_weight 1."
        )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
