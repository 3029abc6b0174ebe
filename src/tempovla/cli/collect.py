"""`tempovla collect SIMULATOR`: demonstrations of the scripted experts of every simulator in `SIMULATOR_REGISTRY`."""

from __future__ import annotations

import math

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option, add_out, add_simulator_fields, comma_separated
from tempovla.env.registry import WITHOUT_EXPERTS, simulator_class
from tempovla.recipe.collection.collect import Collection, experts_of, measure_experts
from tempovla.recipe.collection.registry import IN_SCENES, collect
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name, build_parser
from tempovla.report.tables import attempts_table
from tempovla.timeline.arguments import with_noun

EXAMPLES = """
tempovla {name} {example} --episodes 20 --out outputs/data
tempovla {name} {example} --episodes 30 --noise 0 --dry-run
"""
OF_A_POLICY = """
tempovla eval {simulator} --checkpoint outputs/policy/checkpoint_latest {example} --episodes 20 --record outputs/data
"""
"""In the place of these where no expert demonstrates the tasks."""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    simulator = name.split()[-1]
    config_class = simulator_class(simulator)
    examples = OF_A_POLICY if simulator in WITHOUT_EXPERTS else EXAMPLES
    examples = examples.format(name=name, simulator=simulator, example=config_class.example)
    parser = build_parser(name, summary, "[--tasks A,B] --episodes N --out DIR [options]", examples)
    in_scenes = simulator in IN_SCENES
    parser.add_argument("--tasks", metavar="A,B", help="names of tasks; by default all of them")
    parser.add_argument("--episodes", type=int, required=not in_scenes, metavar="N", help="demonstrations of each task")
    if in_scenes:
        parser.add_argument("--scenes", type=int, metavar="N", help="demonstrations in all, of the tasks in turn")
        parser.add_argument(
            "--format", choices=(IN_SCENES[simulator],), default=IN_SCENES[simulator], help="format of the files"
        )
    add_other_name(parser, "--episodes-per-task", "--episodes")
    add_out(parser, "folder to write, or to go on with", default="")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same demonstrations")
    parser.add_argument("--workers", type=int, default=2, help="simulation processes")
    parser.add_argument(
        "--noise",
        type=float,
        help="largest disturbance of the executed actions, in units of the action; recorded actions have none. By "
        "default it is the simulator's own: 0.5 in metaworld and memory, 0.3 in libero",
    )
    parser.add_argument(
        "--init-states",
        choices=("benchmark", "random"),
        help="random placements, so that evaluations start from unseen states, or the benchmark's own",
    )
    parser.add_argument(
        "--pictures",
        choices=("video", "image"),
        default="video",
        help="keep pictures as a video, which is small and loses details, or each one exactly as it is seen",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only measure how often the expert succeeds, and write nothing"
    )
    add_json_option(parser)
    settings = [field for field in _fields(name) if field not in config_class.sensors]
    add_simulator_fields(parser, config_class, settings, "by default the simulator's own")
    measured = [field for field in config_class.sensors if field in config_class.demonstrated]
    add_simulator_fields(parser, config_class, measured, "on by default")
    others = [field for field in config_class.sensors if field not in measured]
    add_simulator_fields(parser, config_class, others, "off by default")
    if "joint_noise_rad" in _fields(name):
        add_other_name(parser, "--joint-noise", "--joint_noise_rad")
    return parser


def _fields(name: str) -> tuple[str, ...]:
    """Fields of the simulator's config that collecting may set."""
    config_class = simulator_class(name.split()[-1])
    demonstrated = (field for field in config_class.demonstrated if field != "max_steps")
    return tuple(dict.fromkeys((*config_class.recorded, *demonstrated, *config_class.sensors)))


def run(name: str, args: Namespace) -> Outcome:
    """Record the demonstrations that the folder lacks."""
    scenes = getattr(args, "scenes", None)
    for option in ("episodes", "workers", "scenes"):
        given = getattr(args, option, None)
        if given is not None and given < 1:
            raise ValueError(f"--{option} {given} must be at least 1")
    if (args.episodes is None) == (scenes is None):
        raise ValueError("--episodes and --scenes both say how many; give one of them")
    if not args.out and not args.dry_run:
        raise ValueError("--out names no folder; give one, or --dry-run to write nothing")
    env_config = simulator_class(name.split()[-1]).for_experts(**{field: args[field] for field in _fields(name)})
    experts = experts_of(env_config, args.noise, args.init_states)
    tasks = env_config.task_names() if args.tasks is None else comma_separated(args.tasks)
    episodes = args.episodes if scenes is None else math.ceil(scenes / len(tasks))
    collection = Collection(env_config, tasks, episodes, args.seed, experts, args.pictures, scenes)
    if args.dry_run:
        measured = measure_experts(collection, workers=args.workers)
        return Outcome("\n".join(attempts_table(measured)), measured)
    found = collect(args.out, collection, workers=args.workers)
    if "expert" not in found:
        played = f"{with_noun(found['episodes'], 'episode')}, {with_noun(found['frames'], 'frame')}"
        return Outcome(f"{args.out}: {played}", found)
    if scenes is not None:
        return Outcome(
            "\n".join([f"{args.out}: {with_noun(scenes, 'scene')}", *attempts_table(found["expert"])]), found
        )
    shown = with_noun(args.episodes, "demonstration")
    head = f"{args.out}: {shown} of {'one task' if len(tasks) == 1 else f'each of {len(tasks)} tasks'}"
    return Outcome("\n".join([head, *attempts_table(found["expert"])]), found)
