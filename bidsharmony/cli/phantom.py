"""`bidsharmony-phantom`: write a simulated multi-scanner BIDS dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bidsharmony.cli.listing import complain_of_machine
from bidsharmony.cli.parser import EXIT_DONE, OneLineParser, positive_int


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `bidsharmony-phantom`."""
    parser = OneLineParser(
        prog='bidsharmony-phantom',
        description='Write virtual travelling heads: simulated diffusion MRI of the same anatomy '
        'on scanners of different vendor and field strength, as a BIDS dataset.',
    )
    parser.add_argument('output_dir', type=Path, help='folder to write, new or empty')
    parser.add_argument(
        '--heads', type=positive_int, help='number of heads (those of --anatomy, else 2)'
    )
    parser.add_argument(
        '--scanners',
        type=positive_int,
        default=3,
        help='number of scanners, at most 4 (%(default)s)',
    )
    parser.add_argument(
        '--anatomy',
        type=Path,
        nargs='+',
        help="label maps to use as heads (1 mm, FreeSurfer's labels); "
        "without them heads are made from nilearn's ICBM152 tissue maps",
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed (%(default)s)')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the dataset; return the exit code (0 done, 2 usage, 3 disk or permission)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    import numpy as np

    from bidsharmony.physics.heads import load_head
    from bidsharmony.physics.phantom import icbm_heads, phantom_scanners, write_phantom

    scanners = phantom_scanners()
    if options.scanners > len(scanners):
        parser.error(f'--scanners {options.scanners}: choose 1 to {len(scanners)}')
    n_heads = options.heads or len(options.anatomy or ()) or 2
    try:
        if options.anatomy:
            heads = [load_head(file) for file in options.anatomy[:n_heads]]
        else:
            heads = icbm_heads(n_heads, np.random.default_rng(options.seed))
        images = write_phantom(
            options.output_dir, heads, scanners[: options.scanners], seed=options.seed
        )
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    except OSError as error:
        return complain_of_machine(error)
    sys.stdout.write(f'{len(images)} simulated runs written to {options.output_dir}\n')
    return EXIT_DONE


if __name__ == '__main__':
    sys.exit(main())
