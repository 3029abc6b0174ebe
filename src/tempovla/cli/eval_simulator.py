"""`tempovla eval SIMULATOR`: every simulator that `SIMULATOR_REGISTRY` names."""

from __future__ import annotations

from typing import Any, get_args

from jsonargparse import Namespace

from tempovla.cli.command import (
    STDOUT,
    Outcome,
    add_dataset_name,
    add_device,
    add_json_option,
    add_simulator_fields,
    comma_separated,
    config_from_args,
)
from tempovla.env.registry import simulator_class
from tempovla.recipe.evaluation.goals import GoalBy, GoalOptions
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.simulators import evaluate
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name, build_parser
from tempovla.report.tables import score_table
from tempovla.rollout.evaluate import EvaluationConfig

EXAMPLES = """
tempovla {name} --checkpoint CKPT {example} --episodes 20
tempovla {name} --checkpoint CKPT {example} --seed 1 --json outputs/eval/results.json --videos outputs/eval/rollouts
tempovla {name} --checkpoint CKPT {example} --episodes 5 --record outputs/rollouts
tempovla {name} --checkpoint CKPT {example} --wrong_instruction true --json outputs/eval_wrong/results.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    config_class = simulator_class(name.split()[-1])
    examples = EXAMPLES.format(name=name, example=config_class.example).replace("CKPT  ", "CKPT ")
    parser = build_parser(name, summary, "--checkpoint DIR [--tasks A,B] [options]", examples)
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="checkpoint folder of a training run, or an exported file"
    )
    parser.add_argument(
        "--tasks",
        metavar="A,B",
        help="names of tasks; the default is all tasks that the policy learned, or the whole suite",
    )
    add_dataset_name(parser)
    add_device(parser)
    parser.add_argument(
        "--library", metavar="DIR", help="dataset of earlier episodes for a policy that retrieves; default: its own"
    )
    parser.add_argument(
        "--model",
        type=dict[str, Any],
        metavar="{KEY: VALUE}",
        help="other values of the policy's settings that control alone reads, such as --model.rrr_replan_threshold 1.5",
    )
    parser.add_argument(
        "--goal",
        metavar="DATASET[:EPISODE[:STEP]]",
        help="for a policy with a world model: plan towards what this step of a dataset, or of the replay of a run, "
        "shows; by default the last step of the episode, and without an episode the one with the highest reward",
    )
    parser.add_argument(
        "--goal_costs",
        type=dict[str, Any],
        metavar="{KEY: VALUE}",
        help="what counts on the way to the goal, such as --goal_costs.reward_weight 1.0: reward_weight, goal_weight, "
        "picture_weight and when",
    )
    parser.add_argument(
        "--goal_by",
        choices=get_args(GoalBy),
        help="how the actions towards the goal are found: by the policy's search, the default, or by what the model "
        "learned of inverse dynamics",
    )
    parser.add_argument(
        "--instruction", metavar="TEXT", help="instruction that the policy gets in place of the task's own"
    )
    parser.add_argument(
        "--wrong_instruction",
        type=bool,
        default=False,
        metavar="true|false",
        help="give the policy another task's instruction, and count success at the scene's own task: a policy that "
        "listens fails",
    )
    parser.add_argument(
        "--init_states",
        choices=("benchmark", "random"),
        default=config_class.default_init_states,
        help="start from the benchmark's fixed initial states 0, 1, ..., or from random ones, which the seed draws",
    )
    add_simulator_fields(
        parser,
        config_class,
        config_class.recorded,
        "by default what the dataset says of its demonstrations, or else the simulator's own",
    )
    add_json_option(parser)
    parser.add_argument("--record", metavar="DIR", help="LeRobot v3.0 dataset to write all episodes to")
    parser.add_argument(
        "--record_cameras", metavar="A,B", help="cameras that --record shows beside those that the policy sees"
    )
    parser.add_argument(
        "--videos",
        metavar="DIR",
        help="folder for videos of one success and one failure of every task; where the extra viz is installed, with "
        "recordings for rerun (.rrd) beside them",
    )
    parser.add_class_arguments(EvaluationConfig)
    for other in ("--trials", "--num_trials"):
        add_other_name(parser, other, "--episodes")
    if "suite" in config_class.recorded:
        add_other_name(parser, "--task_suite", "--suite")
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Evaluate the checkpoint."""
    simulator = name.split()[-1]
    file = None if args.json in (None, STDOUT) else args.json
    results = evaluate(
        args.checkpoint,
        simulator,
        () if args.tasks is None else comma_separated(args.tasks),
        config_from_args(EvaluationConfig, args),
        settings={field: args[field] for field in simulator_class(simulator).recorded},
        init_states=args.init_states,
        instruction=args.instruction,
        wrong_instruction=args.wrong_instruction,
        dataset_name=args.dataset_name,
        device=args.device,
        library=args.library,
        model=args.model,
        goal=GoalOptions.given(args.goal, args.goal_costs, args.goal_by),
        outputs=Outputs(
            results=file,
            recordings=args.record,
            videos=args.videos,
            cameras=() if args.record_cameras is None else comma_separated(args.record_cameras),
        ),
    )
    return Outcome("\n".join(score_table(results)), results, is_written=file is not None)
