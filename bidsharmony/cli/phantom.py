"""`bidsharmony-phantom`: write a simulated multi-scanner BIDS dataset."""

from __future__ import annotations

import argparse
import json
import re
import sys
from importlib import resources
from pathlib import Path

from bidsharmony.cli.listing import complain_of_machine
from bidsharmony.cli.options import EXIT_DONE, OneLineParser
from bidsharmony.cli.values import positive_int

T2W = re.compile(r'(^|_)T2w\.nii(\.gz)?$')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `bidsharmony-phantom`."""
    scanners = shipped_scanners()
    listing = ', '.join(f'{label} ({model})' for label, model in scanners.items())
    parser = OneLineParser(
        prog='bidsharmony-phantom',
        description='Write virtual heads: simulated diffusion MRI on scanners of different vendor '
        'and field strength as a BIDS dataset, with the truth as derivatives.',
        epilog=f'Scanners, in this order: {listing}.',
    )
    parser.add_argument('output_dir', type=Path, help='folder to write, new or empty')
    parser.add_argument(
        '--heads', type=positive_int, help='number of heads (those of --anatomy, else 2)'
    )
    parser.add_argument(
        '--scanners',
        nargs='+',
        default=['3'],
        metavar='SCANNER',
        help='labels of scanners (see below), or the number of them (3)',
    )
    parser.add_argument(
        '--travelling',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='every head visits every scanner, in sessions (the default); '
        '--no-travelling: each head is on one scanner, in turn',
    )
    parser.add_argument(
        '--lesions',
        action='store_true',
        help='every head has a lesion: ischaemia, oedema, tumour, haemorrhage and resection in '
        'turn; none without it',
    )
    parser.add_argument(
        '--anatomy',
        type=Path,
        nargs='+',
        metavar='FILE',
        help="label maps to use as heads (1 mm, FreeSurfer's labels), or brain-extracted "
        'T2-weighted volumes where names end in _T2w.nii.gz; without them heads are made from '
        "nilearn's ICBM152 tissue maps",
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed (%(default)s)')
    return parser


def shipped_scanners() -> dict[str, str]:
    """Name the scanners that come with the package, by label, without heavy libraries.

    Examples
    --------
    >>> shipped_scanners()['ge15t']
    'GE Signa HDxt, 1.5 T'
    """
    text = resources.files('bidsharmony.data').joinpath('phantom_scanners.json').read_text()
    sidecars = {entry['label']: entry['sidecar'] for entry in json.loads(text)}
    return {
        label: '{Manufacturer} {ManufacturersModelName}, {MagneticFieldStrength} T'.format(**known)
        for label, known in sidecars.items()
    }


def chosen_scanners(words: list[str], labels: list[str]) -> list[str]:
    """Read what was given as ``--scanners``: a number, or labels.

    Raises
    ------
    ValueError
        If the number is too large, or a label is unknown or given twice.

    Examples
    --------
    >>> chosen_scanners(['2'], ['a', 'b', 'c']), chosen_scanners(['c', 'a'], ['a', 'b', 'c'])
    (['a', 'b'], ['c', 'a'])
    """
    if len(words) == 1 and words[0].isdecimal():
        if not 1 <= int(words[0]) <= len(labels):
            raise ValueError(f'--scanners {words[0]}: choose 1 to {len(labels)}')
        return labels[: int(words[0])]
    for i, word in enumerate(words):
        if word not in labels:
            raise ValueError(f'--scanners {word}: choose among {", ".join(labels)}')
        if word in words[:i]:
            raise ValueError(f'--scanners {word}: given twice')
    return words


def main(argv: list[str] | None = None) -> int:
    """Write the dataset; return the exit code (0 done, 2 usage, 3 disk or permission)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    try:
        labels = chosen_scanners(options.scanners, list(shipped_scanners()))
    except ValueError as error:
        parser.error(str(error))
    import numpy as np

    from bidsharmony.interfaces.travelling import write_phantom
    from bidsharmony.physics.heads import load_head
    from bidsharmony.physics.phantom import icbm_heads, phantom_scanners
    from bidsharmony.physics.t2w import t2w_head

    scanners = {scanner.label: scanner for scanner in phantom_scanners()}
    n_heads = options.heads or len(options.anatomy or ()) or 2
    try:
        if options.anatomy:
            heads = [
                t2w_head(file) if T2W.search(file.name) else load_head(file)
                for file in options.anatomy[:n_heads]
            ]
        else:
            heads = icbm_heads(n_heads, np.random.default_rng(options.seed))
        images = write_phantom(
            options.output_dir,
            heads,
            [scanners[label] for label in labels],
            travelling=options.travelling,
            lesions=options.lesions,
            seed=options.seed,
        )
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    except OSError as error:
        return complain_of_machine(error)
    sys.stdout.write(f'{len(images)} simulated runs written to {options.output_dir}\n')
    return EXIT_DONE


if __name__ == '__main__':
    sys.exit(main())
