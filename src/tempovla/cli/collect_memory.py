"""`tempovla collect memory`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser, comma_separated
from tempovla.env.memory import MemoryConfig
from tempovla.env.memory_tasks import MEMORY_TASKS
from tempovla.recipe.collection.collect import collect_memory

EXAMPLES = """
tempovla collect memory --tasks colour-cue,hidden-goal --episodes 50 --out outputs/memory
tempovla collect memory --tasks touch-sequence --episodes 50 --delay_steps 30 --out outputs/memory_long
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--tasks A,B --episodes N --out DIR [options]", EXAMPLES)
    parser.add_argument("--tasks", required=True, metavar="A,B", help=", ".join(MEMORY_TASKS))
    parser.add_argument("--episodes", type=int, required=True, metavar="N", help="demonstrations of each task")
    parser.add_argument("--out", required=True, metavar="DIR", help="LeRobot v3.0 dataset to write, or to go on with")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same demonstrations")
    parser.add_argument("--workers", type=int, default=2, help="simulation processes")
    default = MemoryConfig()
    parser.add_argument("--cue_steps", type=int, default=default.cue_steps, help="frames that show the cue")
    parser.add_argument(
        "--delay_steps",
        type=int,
        default=default.delay_steps,
        help="control steps for which the hand is held after the cue and after each touch",
    )
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Record the demonstrations that the dataset lacks."""
    for name in ("episodes", "workers"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)} must be at least 1")
    tasks = comma_separated(args.tasks)
    env_config = MemoryConfig(cue_steps=args.cue_steps, delay_steps=args.delay_steps)
    source = collect_memory(args.out, tasks, args.episodes, args.seed, env_config, workers=args.workers)
    frames = sum(source.episode(i).length for i in range(len(source)))
    data = {"root": args.out, "episodes": len(source), "frames": frames, "tasks": tasks, "seed": args.seed}
    return Outcome(f"{args.out}: {len(source)} episodes, {frames} frames", data)
