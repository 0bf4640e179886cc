"""Describe the command line: every option, with what it takes, and the exit codes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NoReturn

from bidsharmony import __version__
from bidsharmony.bids import COMPAT
from bidsharmony.cli.plugin import PLUGINS, read_plugin
from bidsharmony.cli.spaces import output_space
from bidsharmony.cli.values import (
    DERIVATIVES,
    dwi_filters,
    label_after,
    megabytes,
    named_dataset,
    number_between,
    positive_int,
    table_column,
    whole_number,
    with_file,
)
from bidsharmony.settings import (
    ANALYSIS_LEVELS,
    AUDITS,
    B0_THRESHOLD,
    BRAIN_MASKS,
    COARSEST_RESOLUTION,
    COARSEST_VOXEL,
    DENOISERS,
    DEVICES,
    FINEST_VOXEL,
    MAX_GB,
    MOST_THREADS,
)

SMALLEST_LENGTH = 1e-3
"""A resolution is more than nothing (mm)."""

SMALLEST_GB = 1e-6
"""Under a kilobyte no image fits."""

SMALLEST_MINUTES = 0.01

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_SIGNAL = 128
"""Added to a signal's number, as shells do: 130 for SIGINT, 143 for SIGTERM."""


class OneLineParser(argparse.ArgumentParser):
    """Report a wrong command line in one line; the usage is a ``--help`` away."""

    def error(self, message: str) -> NoReturn:
        """Write the message to stderr and exit with code 2."""
        message = ' '.join(message.split())
        self.exit(EXIT_USAGE, f'ERROR {message.rstrip(".")}. See {self.prog} --help.\n')


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line.

    Examples
    --------
    >>> build_parser().parse_args(['in', 'out', 'participant', '--nprocs', '2']).nprocs
    2
    """
    parser = OneLineParser(
        prog='bidsharmony',
        description='Harmonize the diffusion MRI of a BIDS dataset across scanners.',
        epilog='Option names may be spelled with - or _.',
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('bids_dir', type=Path, help='the BIDS dataset')
    add('output_dir', type=Path, help='where the derivatives go')
    add(
        'analysis_level',
        nargs='+',
        choices=ANALYSIS_LEVELS,
        help='participant: harmonize each run; group: compare the scanners before and after',
    )
    add('--version', action='version', version=f'bidsharmony {__version__}')
    add(
        '--config-file',
        type=Path,
        metavar='TOML',
        help='options from a file: their long names, NAME = VALUE; what is typed wins',
    )
    add(
        '--verbose',
        '-v',
        dest='verbose_count',
        action='count',
        default=0,
        help='say more; from -vv on the libraries do too, up to -vvv',
    )

    some = parser.add_argument_group('which runs')
    some.add_argument(
        '--participant-label',
        nargs='+',
        action='extend',
        default=[],
        type=label_after('sub-'),
        metavar='LABEL',
        help='participants, with or without sub-',
    )
    some.add_argument(
        '--session-id',
        '--session-label',
        nargs='+',
        action='extend',
        default=[],
        type=label_after('ses-'),
        metavar='LABEL',
        help='sessions, with or without ses-',
    )
    some.add_argument(
        '--run-id',
        nargs='+',
        action='extend',
        default=[],
        type=label_after('run-'),
        metavar='INDEX',
        help='runs, with or without run-; 1 and 01 are the same',
    )
    some.add_argument(
        '--bids-filter-file',
        dest='bids_filters',
        type=with_file(dwi_filters),
        default={},
        metavar='JSON',
        help='{"dwi": {ENTITY: LABEL, [LABELS], null for none or "*" for any}}',
    )
    some.add_argument(
        '-d',
        '--derivatives',
        action='append',
        default=[],
        type=named_dataset,
        metavar='NAME=PATH',
        help='take the runs from this preprocessed dataset, and what its sidecars lack from '
        f'bids_dir (NAME: {", ".join(DERIVATIVES)})',
    )
    some.add_argument(
        '--dry-run',
        action='store_true',
        help='list what would run, on which scanners, and what is left out and why',
    )
    some.add_argument(
        '--reports-only',
        action='store_true',
        help='write the pages of finished participants, and the group page of a finished audit, '
        'anew; harmonize and measure nothing',
    )
    some.add_argument(
        '--boilerplate-only',
        action='store_true',
        help='write the methods of these options, with references, to logs/CITATION.* and to the '
        'terminal; harmonize nothing',
    )

    method = parser.add_argument_group('method')
    method.add_argument(
        '--denoise',
        choices=DENOISERS,
        default='none',
        help='take noise out of the series before anything else (default %(default)s)',
    )
    method.add_argument(
        '--rician',
        action='store_true',
        help='correct the Rician bias of magnitude images, after denoising and before the rest',
    )
    method.add_argument(
        '--b0-threshold',
        type=number_between(0, math.inf, 'a b-value (s/mm2)'),
        default=B0_THRESHOLD,
        metavar='B',
        help='b-values up to this one count as b=0 (s/mm2, default %(default)g)',
    )
    method.add_argument(
        '--no-bias-correction',
        dest='bias_correction',
        action='store_false',
        help='leave the receive field in (for input that is bias-corrected already)',
    )
    method.add_argument(
        '--output-resolution',
        type=number_between(
            FINEST_VOXEL,
            COARSEST_VOXEL,
            f"'native' or a voxel size of {FINEST_VOXEL:g} to {COARSEST_VOXEL:g} mm",
            word='native',
        ),
        metavar='native|MM',
        help="grid of the harmonized series: the input's own (native, the default), where ratios "
        'of volumes stay to the last digit, or cubic voxels of this size, to which one linear '
        'operator without negative weights brings all volumes',
    )
    method.add_argument(
        '--output-spaces',
        nargs='+',
        action='extend',
        default=[],
        type=output_space,
        metavar='NAME[:res-N]',
        help='bring the canonical images to these spaces of TemplateFlow too, such as '
        'MNI152NLin2009cAsym:res-2 (NAME:cohort-N:res-N where a template has cohorts). Templates '
        'are read from TEMPLATEFLOW_HOME, and never downloaded',
    )
    method.add_argument(
        '--strength',
        type=number_between(0, 1, 'a number from 0 to 1'),
        default=1.0,
        metavar='0..1',
        help='how much to harmonize: 1 (default) all the way, 0 leaves the series as it is',
    )
    method.add_argument(
        '--canonical-resolution',
        type=number_between(
            SMALLEST_LENGTH,
            COARSEST_RESOLUTION,
            f'a resolution up to {COARSEST_RESOLUTION:g} mm',
        ),
        metavar='MM',
        help='in-plane resolution of the canonical images, full width at half maximum: that of '
        f'the weights (default; 2 in those shipped) up to {COARSEST_RESOLUTION:g}',
    )
    method.add_argument(
        '--weights',
        type=Path,
        metavar='FILE',
        help='network weights (safetensors) instead of the shipped ones',
    )

    method.add_argument(
        '--brain-mask',
        choices=BRAIN_MASKS,
        default='existing',
        help='take the brain mask that came with a preprocessed run (existing, the default), or '
        'compute one all the same; raw runs have none',
    )

    output = parser.add_argument_group('output')
    output.add_argument(
        '--output-desc',
        type=label_after('desc-'),
        default='harmonized',
        metavar='LABEL',
        help='what follows desc- in the names of harmonized images (default %(default)s)',
    )
    output.add_argument(
        '--qsiprep-compat',
        action='store_true',
        help=f'write a second dataset OUTPUT_DIR/{COMPAT} with the names of QSIPrep, for QSIRecon',
    )

    group = parser.add_argument_group('group level')
    group.add_argument(
        '--audit',
        choices=AUDITS,
        default='standard',
        help='how to look for what is left of the scanner: by a random forest (quick), by a deep '
        'network too (standard, the default), by several and an autoencoder (full), or not at all '
        '(none: tables and page only)',
    )
    group.add_argument(
        '--scanner-from',
        type=table_column,
        metavar='FILE:COLUMN',
        help='table (TSV with participant_id, or session_id too) and the column that holds the '
        'scanner, instead of manufacturer, model and field strength',
    )
    group.add_argument(
        '--scanner-software',
        action='store_true',
        help="take the software version for a part of the scanner's name",
    )
    group.add_argument(
        '--random-seed',
        type=whole_number,
        default=0,
        metavar='N',
        help='seed of the audit: its forests, networks, permutations and bootstraps (default '
        '%(default)s); images do not depend on it',
    )

    work = parser.add_argument_group('performance')
    work.add_argument(
        '--nprocs',
        type=positive_int,
        default=1,
        metavar='N',
        help='participants processed at a time (default %(default)s)',
    )
    work.add_argument(
        '--omp-nthreads',
        type=positive_int,
        metavar='N',
        help='threads of each; images do not depend on it (default: the processors there are over '
        f'--nprocs, at most {MOST_THREADS}; steps on a cluster and the group level take one)',
    )
    work.add_argument(
        '--mem-mb',
        type=megabytes,
        metavar='MB',
        help='memory that participants may take together, also with a suffix, as 8G (default: '
        'what the machine, or the job that this runs in, has left); who does not fit waits',
    )
    work.add_argument(
        '--participant-timeout',
        type=number_between(SMALLEST_MINUTES, math.inf, f'minutes from {SMALLEST_MINUTES:g} on'),
        metavar='MIN',
        help='give a participant up after so many minutes, and go on with the others (default: '
        'wait)',
    )
    work.add_argument(
        '--use-plugin',
        type=with_file(read_plugin),
        metavar='FILE',
        help='nipype plugin (YAML: plugin, plugin_args) that runs the steps of each participant: '
        f'{" or ".join(PLUGINS)} (default Linear: in its own process)',
    )
    work.add_argument(
        '--max-gb',
        type=number_between(SMALLEST_GB, math.inf, f'a size from {SMALLEST_GB:g} GB on'),
        default=MAX_GB,
        metavar='GB',
        help='refuse images that are larger than this when decompressed (default %(default)g)',
    )
    work.add_argument(
        '-w',
        '--work-dir',
        type=Path,
        metavar='DIR',
        help='intermediate files (default: inside the output, hidden)',
    )
    work.add_argument(
        '--clean-workdir',
        action='store_true',
        help='first remove the intermediate files that failed or killed participants of this '
        'output have left',
    )
    work.add_argument(
        '--device',
        choices=DEVICES,
        default='cpu',
        help='where networks run: cpu (default; the same bytes everywhere), cuda, or auto (cuda '
        'where there is one)',
    )
    work.add_argument(
        '--stop-on-first-crash',
        action='store_true',
        help='once a run has failed, begin no further participant and end the others',
    )

    look = parser.add_argument_group('looking inside')
    look.add_argument(
        '--write-graph',
        action='store_true',
        help='leave the graph of each participant in logs (sub-X_graph.dot, and a picture of it '
        'where Graphviz is installed)',
    )
    look.add_argument(
        '--resource-monitor',
        action='store_true',
        help='leave what each step took of time and memory in logs (sub-X_resources.tsv)',
    )
    look.add_argument(
        '--debug',
        action='store_true',
        help='keep all intermediate files, log all there is (as -vv), and show where errors arose',
    )
    return parser
