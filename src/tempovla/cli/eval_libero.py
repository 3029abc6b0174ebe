"""`tempovla eval libero`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, build_parser, comma_separated, config_from_args, success_table
from tempovla.cli.eval_metaworld import (
    add_dataset_argument,
    add_instruction_arguments,
    add_output_arguments,
    outputs_from_args,
)
from tempovla.recipe.evaluation.libero import LiberoSuite, evaluate_libero
from tempovla.rollout.evaluate import EvaluationConfig

EXAMPLES = """
tempovla eval libero --checkpoint checkpoints/phase2_flow_matching/checkpoint_best --suite libero_object --trials 50
tempovla eval libero --checkpoint CKPT --trials 20 --seed 1 --json outputs/eval/results.json
tempovla eval libero --checkpoint CKPT --json outputs/eval/results.json --videos outputs/eval/rollouts
tempovla eval libero --checkpoint CKPT --wrong_instruction true --json outputs/eval_wrong/results.json
tempovla eval libero --checkpoint CKPT --tasks pick_up_the_milk_and_place_it_in_the_basket --init_states random
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--checkpoint DIR [--suite NAME] [--trials N] [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="what training saved, or an exported file")
    parser.add_argument(
        "--suite", "--task_suite", metavar="NAME", help="libero_object, ...; by default the demonstrations' own"
    )
    parser.add_argument("--trials", "--num_trials", type=int, default=20, metavar="N", help="episodes of each task")
    parser.add_argument("--tasks", metavar="A,B", help="some of the suite's tasks; by default all")
    add_dataset_argument(parser)
    add_instruction_arguments(parser)
    parser.add_class_arguments(LiberoSuite, skip={"suite"})
    add_output_arguments(parser)
    parser.add_class_arguments(EvaluationConfig, skip={"episodes"})
    return parser


def run(args: Namespace) -> Outcome:
    """Evaluate the checkpoint."""
    if args.trials < 1:
        raise ValueError(f"--trials {args.trials} must be at least 1")
    results = evaluate_libero(
        args.checkpoint,
        config_from_args(LiberoSuite, args),
        config_from_args(EvaluationConfig, args, episodes=args.trials),
        tasks=() if args.tasks is None else comma_separated(args.tasks),
        instruction=args.instruction,
        wrong_instruction=args.wrong_instruction,
        dataset_name=args.dataset_name,
        outputs=outputs_from_args(args),
    )
    return Outcome("\n".join(success_table(results)), results)
