"""Give a finished run the names of QSIPrep's files, so that QSIRecon takes it for its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bidsharmony.bids.names import output_stem
from bidsharmony.interfaces.bids import link_file
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.interfaces.sidecars import map_sidecar
from bidsharmony.interfaces.summary import save_mean_b0

SERIES = ('.nii.gz', '.bval', '.bvec', '.json')
MASK = ('.nii.gz', '.json')


def write_compat(checked: CheckedRun, folder: Path, compat_folder: Path, desc: str) -> None:
    """Name series, gradients, brain mask and b=0 reference as QSIPrep does.

    QSIRecon cuts the names of mask (``fname[:-11] + 'brain_mask'``) and reference
    (``fname[:-16] + 'dwiref'``) out of that of the series, so the last must be the input's own.

    Parameters
    ----------
    checked : CheckedRun
        a run of QSIPrep's
    folder : Path
        holds its derivatives
    compat_folder : Path
        where they get their other names; made if need be
    desc : str
        label of the harmonized series
    """
    run = checked.run
    stem, preproc = output_stem(run.image), run.image.name.split('.')[0]
    names = {f'{stem}_desc-{desc}_dwi{end}': f'{preproc}{end}' for end in SERIES}
    names |= {f'{stem}_desc-brain_mask{end}': f'{preproc[:-11]}brain_mask{end}' for end in MASK}
    compat_folder.mkdir(parents=True, exist_ok=True)
    for ours, theirs in names.items():
        link_file(folder / ours, compat_folder / theirs)
    if run.mrtrix_table is not None:
        shutil.copyfile(run.mrtrix_table, compat_folder / f'{preproc}.b')
    reference = compat_folder / f'{preproc[:-16]}dwiref'
    save_mean_b0(
        folder / f'{stem}_desc-{desc}_dwi.nii.gz',
        checked.b0_ixs,
        reference.with_name(f'{reference.name}.nii.gz'),
    )
    sources = [run.uri(path) for path in checked.sources]
    described = {
        **map_sidecar(sources, 'Mean of the b=0 volumes, harmonized.'),
        'SpatialReference': run.uri(run.image),
    }
    reference.with_name(f'{reference.name}.json').write_text(
        json.dumps(described, indent=2) + '\n'
    )
