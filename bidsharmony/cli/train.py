"""`bidsharmony-train`: train the network on simulated pairs."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from bidsharmony.cli.listing import complain_of_machine
from bidsharmony.cli.parser import EXIT_DONE, OneLineParser, positive_int


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
        '(individuals 1-10 train, 11-12 validate)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='weights to write (.safetensors); the curve goes beside them',
    )
    parser.add_argument(
        '--steps', type=positive_int, default=2400, help='optimiser steps (%(default)s)'
    )
    parser.add_argument('--seed', type=int, default=20261123, help='random seed (%(default)s)')
    parser.add_argument(
        '--every', type=positive_int, default=200, help='steps between validations (%(default)s)'
    )
    parser.add_argument(
        '--workers', type=positive_int, default=1, help='processes that simulate (%(default)s)'
    )
    parser.add_argument(
        '--threads', type=positive_int, default=1, help='threads of the network (%(default)s)'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train; return the exit code (0 done, 2 usage, 3 disk or permission)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.out.suffix != '.safetensors':
        parser.error(f'--out {options.out}: weights end in .safetensors')
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    import torch

    from bidsharmony.network.training import Recipe, train

    torch.set_num_threads(options.threads)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        train(
            options.anatomy,
            options.out,
            Recipe(steps=options.steps, seed=options.seed),
            workers=options.workers,
            every=options.every,
            provenance={
                'command': 'bidsharmony-train --anatomy ANATOMY --out WEIGHTS '
                f'--steps {options.steps} --seed {options.seed} '
                f'--every {options.every} --workers {options.workers}'
            },
        )
    except FileNotFoundError as error:
        parser.error(str(error))
    except OSError as error:
        return complain_of_machine(error)
    return EXIT_DONE


if __name__ == '__main__':
    sys.exit(main())
