"""The demo: demonstrations, a language-conditioned policy, its evaluation beside baselines, and a report."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tempovla.data.lerobot import open_dataset
from tempovla.data.memory import preload
from tempovla.env.metaworld import DEMONSTRATION_STEPS, MetaWorldConfig
from tempovla.env.metaworld_tasks import INSTRUCTIONS, check_task
from tempovla.model.vla.statevla_config import JepaConfig, StateVLAConfig
from tempovla.recipe.collection.collect import Collection, collect_dataset
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.wrong_instruction import other_tasks
from tempovla.recipe.results import command, machine, pool, summarize, versions
from tempovla.recipe.stage_log import StageLog
from tempovla.recipe.systems.statevla import PHASE_NAMES, train_phase
from tempovla.recipe.systems.statevla_config import (
    Phase1Config,
    Phase2Config,
    StateVLARecipe,
    StateVLATraining,
    TransformConfig,
)
from tempovla.report.page import write_report
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.rollout.metrics import SuccessRate
from tempovla.storage.json_files import parse_json, plain_json, read_json, read_text, write_json
from tempovla.storage.lock import FolderLock
from tempovla.storage.said_by import said_by
from tempovla.storage.strays import is_empty
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import IMAGE_KEY_PREFIX

LOGGER = logging.getLogger(__name__)

EASY_TASKS = ("button-press-topdown-v3", "drawer-open-v3", "window-open-v3", "door-open-v3")
HARD_TASK = "push-v3"


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo; the defaults take ten minutes on two cores.

    Attributes:
        tasks: Meta-World tasks; one policy learns them all.
        demonstrations: number of demonstrations of each task.
        evaluation_episodes: number of fresh episodes of each task, for the policy and for each baseline.
        phase1_steps: number of training steps of the temporal JEPA.
        phase2_steps: number of training steps of flow matching.
        seed: seed of demonstrations, training and evaluation.
        workers: number of simulation processes.
    """

    tasks: tuple[str, ...] = (*EASY_TASKS, HARD_TASK)
    demonstrations: int = 40
    evaluation_episodes: int = 20
    phase1_steps: int = 400
    phase2_steps: int = 900
    seed: int = 0
    workers: int = 2

    def __post_init__(self) -> None:
        for task in self.tasks:
            check_task(task)
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks={list(self.tasks)} must name at least one task, and none twice")
        for name in ("demonstrations", "evaluation_episodes", "phase1_steps", "phase2_steps", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def demo_recipe(config: DemoConfig, *, blind: bool = False) -> StateVLARecipe:
    """Return a small StateVLA that trains on a CPU in minutes."""
    cameras = tuple(IMAGE_KEY_PREFIX + camera for camera in MetaWorldConfig().cameras)
    return StateVLARecipe(
        data=DataConfig(train_split=1.0),
        transform=TransformConfig(blind=blind, shift_px=2),
        model=StateVLAConfig(
            cameras=cameras,
            image_size=64,
            image_tokenizer="conv",
            embed_dim=128,
            robot_state_dim=4,
            encoder_type="transformer",
            encoder_depth=2,
            num_heads=4,
            readout="all_tokens",
            action_dim=4,
            action_seq_len=16,
            policy_type="transformer",
            policy_layers=2,
            policy_embed_dim=128,
            flow_draws=2,
            freeze_encoder=False,
            cloning_weight=1.0,
            jepa=JepaConfig(
                prediction_horizon=8,
                regularize="state",
                inverse_dynamics_weight=1.0,
                behavior_cloning_weight=1.0,
            ),
        ),
        training=StateVLATraining(
            batch_size=64,
            warmup_steps=30,
            learning_rate_floor=0.02,
            weight_ema_decay=0.99,
            precision="auto",
            seed=config.seed,
            log_interval=10,
            save_interval=0,
            save_interval_steps=250,
            num_threads=1,
            ema_momentum=0.99,
            phase1=Phase1Config(train_steps=config.phase1_steps, learning_rate=1e-3, temporal_predictor_hidden_dim=256),
            phase2=Phase2Config(train_steps=config.phase2_steps, learning_rate=1e-3),
        ),
    )


class Demo:
    """One run of the demo in one folder; stages that an interrupted run finished are not done again."""

    def __init__(self, config: DemoConfig, out_dir: str | Path) -> None:
        self.config = config
        self.out_dir = Path(out_dir)
        self.videos = self.out_dir / "rollouts"
        remedy = "let it end, or choose another folder"
        self._lock = FolderLock(self.out_dir, "runs the demo", remedy=remedy)
        try:
            self._check_same_config()
        except (OSError, ValueError):
            self._lock.release()
            raise
        self.stages = StageLog(self.out_dir / "stages.json")

    def run(self) -> Path:
        """Run all stages and return the path of the report.

        Raises:
            ValueError: if a stage cannot run.
            NotWrittenError: if the disk is full or read-only.
        """
        try:
            return self._run()
        finally:
            self._lock.release()

    def _run(self) -> Path:
        if not self.stages.is_done("collect"):
            with self.stages.stage("collect"):
                self._collect()
        for name, blind in (("train", False), ("train_blind", True)):
            if not self.stages.is_done(name):
                with self.stages.stage(name):
                    self._train(name, blind)
        for name in ("policy", "wrong_instruction", "blind"):
            if not self.stages.is_done(f"evaluate_{name}"):
                with self.stages.stage(f"evaluate_{name}"):
                    self._evaluate(name)
        if not (self.stages.is_done("film") or (self.videos / "index.json").exists()):
            with self.stages.stage("film"):  # an earlier version was stopped between evaluating and filming
                self._evaluate("policy")
        self.stages.add_rest("start up")
        write_json(self.out_dir / "results.json", self._results())
        return write_report(self.out_dir, self.out_dir / "report.html")

    def _check_same_config(self) -> None:
        path = self.out_dir / "demo.json"
        asked = plain_json(dataclasses.asdict(self.config))
        begun = (self.out_dir / "dataset" / "data").exists()  # a first call that made no demonstration blocks no other
        held = read_json(path, remedy="remove the folder") if begun and path.exists() else asked
        for name in [name for name in asked if name not in held or held[name] != asked[name]][:1]:
            before, now = (_option(name, settings.get(name, "unknown")) for settings in (held, asked))
            raise ValueError(
                f"{self.out_dir}: holds a demo that was begun with {before} ({path}), not {now}; give {before} to go "
                "on with it, or another folder with --out"
            )
        if not path.exists() and not is_empty(self.out_dir):
            raise ValueError(f"{self.out_dir}: not empty and no demo's folder; choose another folder")
        write_json(path, asked)

    def _collect(self) -> None:
        config = self.config
        collection = Collection(MetaWorldConfig.for_experts(), config.tasks, config.demonstrations, config.seed)
        collect_dataset(self.out_dir / "dataset", collection, workers=config.workers)

    def _train(self, name: str, blind: bool) -> None:
        recipe = demo_recipe(self.config, blind=blind)
        source = self._source(recipe)
        for phase in (1, 2):
            run_dir = self.out_dir / name / PHASE_NAMES[phase]
            latest = run_dir / "checkpoint_latest"
            resume = latest if latest.exists() else None
            train_phase(recipe, phase, self.out_dir / name, resume=resume, source=source)

    def _source(self, recipe: StateVLARecipe) -> EpisodeSource:
        source = open_dataset(self.out_dir / "dataset")
        return preload(source, source.streams, recipe.data.preload_bytes)

    def _instructions(self, name: str) -> dict[str, str]:
        tasks = self.config.tasks
        if name != "wrong_instruction":
            return {}
        others = other_tasks(tasks, EASY_TASKS, INSTRUCTIONS.__getitem__)  # a single task: one that is not shown
        return {task: INSTRUCTIONS[other] for task, other in others.items()}

    def _evaluate(self, name: str) -> None:
        """Evaluate a policy, or a baseline, as `tempovla eval` does; the policy's episodes are filmed, too."""
        run = "train_blind" if name == "blind" else "train"
        results = evaluate_checkpoint(
            self.out_dir / run / PHASE_NAMES[2] / "checkpoint_latest",
            MetaWorldConfig(max_steps=DEMONSTRATION_STEPS),
            self.config.tasks,
            EvaluationConfig(self.config.evaluation_episodes, self.config.seed, workers=self.config.workers),
            instruction=self._instructions(name),
            device="cpu",
            outputs=Outputs(videos=self.videos if name == "policy" else None),
        )
        write_json(self.out_dir / f"evaluation_{name}.json", results["episodes"])
        rates = {task: f"{block['success']:.0%}" for task, block in results["tasks"].items()}
        LOGGER.info("%s: %s", name, rates)

    def _episodes(self, name: str) -> list[dict[str, Any]]:
        path = self.out_dir / f"evaluation_{name}.json"
        remedy = f"remove it, and evaluate_{name} from stages.json, to evaluate again"
        found = parse_json(read_text(path, remedy=remedy), f"{path}:", remedy=remedy)
        with said_by(path, remedy=remedy):
            return [{"task": str(entry["task"]), "success": bool(entry["success"])} for entry in found]

    def _results(self) -> dict[str, Any]:
        rates = {name: self._rates(name) for name in ("policy", "blind", "wrong_instruction")}
        tasks = {
            task: {"instruction": INSTRUCTIONS[task]} | summarize(**{name: rates[name][task] for name in rates})
            for task in self.config.tasks
        }
        counted = [task for task in self.config.tasks if task != HARD_TASK] or list(self.config.tasks)
        pooled = {name: pool([rates[name][task] for task in counted]) for name in rates}
        return {
            "title": "StateVLA on Meta-World",
            "tasks": tasks,
            "mean": {"tasks": counted} | summarize(**pooled),
            "cpu_seconds": self.stages.total("cpu_seconds"),
            "wall_seconds": self.stages.total("wall_seconds"),
            "stages": self.stages.as_list(),
            "seed": self.config.seed,
            "command": command(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": machine(),
        }

    def _rates(self, name: str) -> dict[str, SuccessRate]:
        episodes = self._episodes(name)
        return {
            task: SuccessRate.of([e["success"] for e in episodes if e["task"] == task]) for task in self.config.tasks
        }


def _option(name: str, value: Any) -> str:
    """A setting as `tempovla demo` takes it."""
    return f"--{name} {','.join(map(str, value)) if isinstance(value, list) else value}"
