"""`tempovla collect libero`."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser, comma_separated
from tempovla.recipe.collection.libero import LiberoCollectConfig, collect_libero, measure_expert

EXAMPLES = """
tempovla collect libero --episodes-per-task 50 --workers 2 --rendering fast --out outputs/libero_object
tempovla collect libero --episodes-per-task 30 --init-states benchmark --noise 0 --dry-run
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--episodes-per-task N --out DIR [options]", EXAMPLES)
    default = LiberoCollectConfig()
    parser.add_argument("--suite", default=default.suite, help="LIBERO's suite; there is an expert for libero_object")
    parser.add_argument("--tasks", default="", metavar="A,B", help="only these tasks; default: all of the suite")
    parser.add_argument("--episodes-per-task", type=int, required=True, metavar="N", help="demonstrations of each task")
    parser.add_argument("--out", default="", metavar="DIR", help="folder to write, or to go on with")
    parser.add_argument("--seed", type=int, default=default.seed, help="same seed, same demonstrations")
    parser.add_argument("--workers", type=int, default=2, help="simulation processes")
    parser.add_argument("--image-size", type=int, default=default.image_size, help="height and width [pixels]")
    parser.add_argument("--rendering", default=default.rendering, help="exact (robosuite's pixels) or fast")
    parser.add_argument(
        "--noise",
        type=float,
        default=default.noise,
        help="largest disturbance of what is executed, in units of the action; 0: none. Never of what is recorded",
    )
    parser.add_argument(
        "--init-states",
        default=default.init_states,
        help="random placements, so that evaluations begin from states never seen, or the benchmark's",
    )
    parser.add_argument(
        "--joint-noise",
        type=float,
        default=default.joint_noise_rad,
        help="scatter of the arm's joints [rad] at the beginning of random placements; default: the benchmark's",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only measure how often the expert succeeds; needs no --out"
    )
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Record the demonstrations that the folder lacks."""
    if args.workers < 1:
        raise ValueError(f"--workers {args.workers} must be at least 1")
    if not args.out and not args.dry_run:
        raise ValueError("--out names no folder; give one, or --dry-run to write nothing")
    config = LiberoCollectConfig(
        suite=args.suite,
        tasks=tuple(comma_separated(args.tasks)) if args.tasks else (),
        episodes_per_task=args.episodes_per_task,
        seed=args.seed,
        image_size=args.image_size,
        rendering=args.rendering,
        noise=args.noise,
        init_states=args.init_states,
        joint_noise_rad=args.joint_noise,
    )
    if args.dry_run:
        return Outcome("\n".join(attempts_table(results := measure_expert(config, workers=args.workers))), results)
    results = collect_libero(args.out, config, workers=args.workers)
    head = f"{args.out}: {config.episodes_per_task} demonstrations of each of {len(config.task_names())} tasks"
    return Outcome("\n".join([head, *attempts_table(results)]), {"root": args.out, "expert": results})


def attempts_table(results: dict[str, Any]) -> list[str]:
    """Success of the expert's attempts with its 95% interval, and how long the successful ones were."""
    rows = {**results["tasks"], "all": results["mean"]}
    width = max(map(len, rows))
    lines = ["the expert's attempts:"]
    for name, block in rows.items():
        low, high = block["ci95"]
        length = "" if block["mean_steps"] is None else f", {block['mean_steps']:.0f} steps"
        lines.append(
            f"{name:<{width}}  {block['success']:>4.0%}  [{low:.0%}, {high:.0%}] of {block['episodes']}{length}"
        )
    return lines
