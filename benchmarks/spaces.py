"""Bring real scans to a real template, and say how well their brains fit there.

    python benchmarks/spaces.py --bids DIR [--nprocs 2] [--work WORK] [--table CSV]

The MNI152 template that comes with nilearn (symmetric, 2009a, T1-weighted, 2 mm) is laid out as
TemplateFlow lays out its own, and the program is run with ``--output-spaces`` on every diffusion
run of a dataset. Dice and correlation are those of the qc files. The share of the template's brain
that lies in the field of view tells a scan of a part of the brain from a registration that failed.
Pictures are in WORK/out/sub-*/figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nb
import numpy as np
from csv_tables import write_table
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

TEMPLATE = 'MNI152NLin2009aSym'
SPACE = f'{TEMPLATE}:res-2'
VOXEL = 2  # mm
HEADER = ['run', 'Dice of the brains', "of the template's brain in view", 'correlation']


def write_template(home: Path) -> None:
    """Write image and brain mask where TemplateFlow would have them."""
    folder = home / f'tpl-{TEMPLATE}'
    folder.mkdir(parents=True, exist_ok=True)
    start = f'tpl-{TEMPLATE}_res-{VOXEL:02d}'
    for name, image, kind in (
        ('T1w', load_mni152_template(resolution=VOXEL), np.float32),
        ('desc-brain_mask', load_mni152_brain_mask(resolution=VOXEL), np.uint8),
    ):
        data = np.asarray(image.dataobj).astype(kind)
        nb.save(nb.Nifti1Image(data, image.affine), folder / f'{start}_{name}.nii.gz')


def in_view(b0: Path, brain: np.ndarray) -> float:
    """Return the share of the template's brain where the scan has a signal."""
    return float((np.asarray(nb.load(b0).dataobj) > 0)[brain].mean())


def main() -> None:
    """Run the program, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bids', type=Path, required=True, metavar='DIR')
    parser.add_argument('--nprocs', default='2', metavar='N')
    parser.add_argument('--work', type=Path, help='folder for template and output; kept')
    parser.add_argument('--table', type=Path, metavar='CSV', help='CSV file to write')
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        home, out = work / 'home', work / 'out'
        write_template(home)
        command = [sys.executable, '-m', 'bidsharmony.cli.participant', given.bids, out]
        subprocess.run(
            [*command, 'participant', '--output-spaces', SPACE, '--nprocs', given.nprocs],
            env={**os.environ, 'TEMPLATEFLOW_HOME': str(home)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        brain = np.asarray(load_mni152_brain_mask(resolution=VOXEL).dataobj).astype(bool)
        lines = [HEADER]
        for path in sorted(out.glob('sub-*/**/*_desc-harmonized_qc.json')):
            stem = path.name.removesuffix('_desc-harmonized_qc.json')
            (found,) = json.loads(path.read_text())['spaces']
            b0 = path.with_name(
                f'{stem}_space-{TEMPLATE}_res-{VOXEL}_desc-harmonized_dwiref.nii.gz'
            )
            figures = found['dice'], in_view(b0, brain), found['correlation']
            lines.append([stem, *(f'{figure:.3f}' for figure in figures)])
    for line in lines:
        print('  '.join(line))
    if given.table:
        write_table(given.table, lines)


if __name__ == '__main__':
    main()
