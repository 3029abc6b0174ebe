"""`tempovla eval metaworld`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, build_parser, comma_separated, config_from_args, success_table
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.recipe.collection.collect import MAX_STEPS
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.rollout.evaluate import EvaluationConfig

EXAMPLES = """
tempovla eval metaworld --checkpoint checkpoints/phase2_flow_matching/checkpoint_latest --tasks push-v3 --episodes 20
tempovla eval metaworld --checkpoint CKPT --tasks drawer-open-v3,push-v3 --seed 1 --json outputs/eval/results.json
tempovla eval metaworld --checkpoint CKPT --tasks push-v3 --episodes 5 --record outputs/rollouts
tempovla eval metaworld --checkpoint CKPT --tasks drawer-open-v3,push-v3 --wrong_instruction true
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--checkpoint DIR --tasks A,B [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="what training saved, or an exported file")
    parser.add_argument("--tasks", required=True, metavar="A,B", help="Meta-World tasks")
    add_dataset_argument(parser)
    add_instruction_arguments(parser)
    add_output_arguments(parser)
    parser.add_class_arguments(EvaluationConfig)
    parser.set_defaults(max_steps=MAX_STEPS)
    return parser


def add_dataset_argument(parser: ArgumentParser) -> None:
    """Whose body a policy moves that learned from several datasets."""
    parser.add_argument(
        "--dataset-name", metavar="NAME", help="of a policy of several datasets: whose body and statistics to take"
    )


def add_instruction_arguments(parser: ArgumentParser) -> None:
    """What the policy may be told, other than the task's words."""
    parser.add_argument("--instruction", metavar="TEXT", help="what the policy is told instead of the task's words")
    parser.add_argument(
        "--wrong_instruction",
        type=bool,
        default=False,
        metavar="true|false",
        help="tell it to do the next of the tasks, and count success on the scene's own: does it listen?",
    )


def add_output_arguments(parser: ArgumentParser) -> None:
    """What an evaluation may write."""
    parser.add_argument(
        "--json", metavar="FILE", help="where to write the results; times go into a .timing.json beside it"
    )
    parser.add_argument("--record", metavar="DIR", help="LeRobot v3.0 dataset to write all episodes to")
    parser.add_argument("--videos", metavar="DIR", help="folder for a success and a failure of every task")


def outputs_from_args(args: Namespace) -> Outputs:
    """What `add_output_arguments` asked for."""
    return Outputs(results=args.json, recordings=args.record, videos=args.videos)


def run(args: Namespace) -> Outcome:
    """Evaluate the checkpoint."""
    results = evaluate_checkpoint(
        args.checkpoint,
        MetaWorldConfig(),
        comma_separated(args.tasks),
        config_from_args(EvaluationConfig, args),
        instruction=args.instruction,
        wrong_instruction=args.wrong_instruction,
        dataset_name=args.dataset_name,
        outputs=outputs_from_args(args),
    )
    return Outcome("\n".join(success_table(results)), results)
