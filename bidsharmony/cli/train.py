"""`bidsharmony-train`: train the network on simulated pairs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from bidsharmony.cli.listing import complain_of_machine
from bidsharmony.cli.options import EXIT_DONE, OneLineParser
from bidsharmony.cli.values import positive_int
from bidsharmony.network.recipe import RECIPES, Recipe


def positive_float(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `bidsharmony-train`."""
    parser = OneLineParser(
        prog='bidsharmony-train', description='Train the harmonization network on simulated pairs.'
    )
    parser.add_argument(
        '--anatomy',
        type=Path,
        required=True,
        help='folder with whole-head label maps training_seg_NN.nii.gz '
        '(individuals 1-10 train, 11-12 validate), and for the one-individual recipe a '
        'brain-extracted *_T2w.nii.gz',
    )
    parser.add_argument(
        '--recipe',
        choices=RECIPES,
        default=Recipe.name,
        help='train on the label maps of ten individuals, or on the lower two thirds of one '
        "individual's T2-weighted volume (%(default)s)",
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='weights to write (.safetensors); the curve goes beside them',
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--steps', type=positive_int, default=Recipe.steps, help='optimiser steps (%(default)s)'
    )
    length.add_argument(
        '--hours',
        type=positive_float,
        default=Recipe.hours,
        help='train for so long instead of by steps',
    )
    length.add_argument(
        '--calibrate',
        action='store_true',
        help='do not train, but measure again what spectrum the weights of --out leave, and write '
        'it into them (a minute; done after every training)',
    )
    parser.add_argument(
        '--start-from', type=Path, help='weights to begin with instead of random ones'
    )
    parser.add_argument(
        '--learning-rate',
        type=positive_float,
        default=Recipe.learning_rate,
        help='at its height (%(default)s)',
    )
    parser.add_argument('--seed', type=int, default=Recipe.seed, help='random seed (%(default)s)')
    parser.add_argument(
        '--every', type=positive_int, default=500, help='steps between validations (%(default)s)'
    )
    parser.add_argument(
        '--bfloat16',
        action='store_true',
        help='compute in bfloat16: about twice as fast on processors that have it',
    )
    parser.add_argument(
        '--workers', type=positive_int, default=1, help='processes that simulate (%(default)s)'
    )
    parser.add_argument(
        '--threads', type=positive_int, default=1, help='threads of the network (%(default)s)'
    )
    return parser


def said(options: argparse.Namespace) -> str:
    """Return the command that was given, without this machine's paths."""
    length = f'--hours {options.hours:g}' if options.hours else f'--steps {options.steps}'
    start = ' --start-from WEIGHTS' if options.start_from else ''
    return (
        f'bidsharmony-train --anatomy ANATOMY --out WEIGHTS --recipe {options.recipe} {length}'
        f'{start} --learning-rate {options.learning_rate:g} --seed {options.seed} '
        f'--every {options.every} --workers {options.workers}'
        + (' --bfloat16' if options.bfloat16 else '')
    )


def main(argv: list[str] | None = None) -> int:
    """Train; return the exit code (0 done, 2 usage, 3 disk or permission)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.out.suffix != '.safetensors':
        parser.error(f'--out {options.out}: weights end in .safetensors')
    # one thread each for the processes that simulate: more would only fight for the same cores
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    os.environ.setdefault('MKL_NUM_THREADS', '1')
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    import torch

    from bidsharmony.network.calibrate import calibrate
    from bidsharmony.network.training import train
    from bidsharmony.network.weights import WeightsError

    torch.set_num_threads(options.threads)
    try:
        if options.calibrate:
            calibrate(options.out, options.anatomy)
            return EXIT_DONE
        options.out.parent.mkdir(parents=True, exist_ok=True)
        train(
            options.anatomy,
            options.out,
            Recipe(
                name=options.recipe,
                steps=options.steps,
                hours=options.hours,
                seed=options.seed,
                learning_rate=options.learning_rate,
                bfloat16=options.bfloat16,
            ),
            workers=options.workers,
            every=options.every,
            start_from=options.start_from,
            provenance={'command': said(options)},
        )
        calibrate(options.out, options.anatomy)
    except (FileNotFoundError, WeightsError) as error:
        parser.error(str(error))
    except OSError as error:
        return complain_of_machine(error)
    return EXIT_DONE


if __name__ == '__main__':
    sys.exit(main())
