"""Write virtual heads on several scanners as a BIDS dataset, with the truth as derivatives."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bidsharmony import __version__
from bidsharmony.physics.heads import Head
from bidsharmony.physics.lesions import KINDS
from bidsharmony.physics.pairs import CANONICAL_FWHM, CANONICAL_THICKNESS
from bidsharmony.physics.phantom import PhantomScanner
from bidsharmony.physics.signal import CANONICAL_B_VALUE, CANONICAL_CONTRAST
from bidsharmony.physics.tissue import TISSUE_NAMES
from bidsharmony.physics.volumes import Scan, draw_focus, scan_head

BIDS_VERSION = '1.10.0'
PROGRAM = 'bidsharmony-phantom'
README = """Virtual heads: simulated diffusion MRI on scanners of several vendors.

Every image is simulated; fibre directions are an invented smooth function of place. Sidecars have
the keys that each vendor's files get from a converter, with the values of the simulated protocol.

derivatives/truth holds what each scan would have shown on the canonical scanner, and what it was
made of; derivatives/lesions the masks of lesions on the grids of the series.
"""
#: Name of each map of `volumes.Truth` in a file name, and what its sidecar says.
TRUTH = {
    'dwiref': (
        'desc-truth_dwiref',
        {'Description': 'b=0 of the canonical scanner.', 'Units': 'canonical unit'},
    ),
    'trace': (
        'desc-truth_trace',
        {
            'Description': 'Trace image of the canonical scanner.',
            'Units': 'canonical unit',
            'BValue': CANONICAL_B_VALUE,
        },
    ),
    'ADC': ('desc-truth_ADC', {'Description': 'Of dwiref and trace.', 'Units': 'mm^2/s'}),
    'FA': ('desc-truth_FA', {'Description': 'Fractional anisotropy at 1 mm in plane.'}),
    'V1': (
        'desc-truth_V1',
        {'Description': 'Fibre direction, unit vectors along the voxel axes as b-vectors are.'},
    ),
    'brain': ('desc-brain_mask', {'Type': 'Brain'}),
    'lesion': ('label-lesion_desc-truth_mask', {'Type': 'Lesion'}),
    'coil': ('desc-coil_dwimap', {'Description': 'Receive field, a factor on the signal.'}),
    'shift': (
        'desc-shift_dwimap',
        {
            'Units': 'mm',
            'Description': 'How far along the second voxel axis the content of a voxel lay '
            'before susceptibility shifted it; the other maps are shifted alike.',
        },
    ),
    'tissue': ('desc-tissue_dseg', {'Description': 'Tissue of the largest fraction.'}),
}
_CANONICAL = {
    'MagneticFieldStrength': CANONICAL_CONTRAST.field_strength,
    'EchoTime': CANONICAL_CONTRAST.echo_time,
    'RepetitionTime': CANONICAL_CONTRAST.repetition_time,
    'CanonicalResolutionFWHM': CANONICAL_FWHM,
    'CanonicalSliceProfileFWHM': CANONICAL_THICKNESS,
}
# maps that 16 bits hold well enough: they are half of what is written
_SIXTEEN_BITS = ('FA', 'V1', 'coil', 'shift')
# suffixes of the truth that the validator does not know (bids-validator-deno 3.0.2)
_IGNORED = ('*_dwiref.*', '*_trace.*', '*_ADC.*', '*_FA.*', '*_V1.*', '*_dwimap.*')


def write_phantom(
    out: Path,
    heads: Sequence[Head],
    scanners: Sequence[PhantomScanner],
    *,
    travelling: bool = True,
    lesions: bool = False,
    seed: int = 0,
) -> list[Path]:
    """Write heads on scanners as a BIDS dataset: all of it, or nothing.

    Parameters
    ----------
    out : Path
        A folder that does not exist yet, or is empty.
    heads : sequence of Head
    scanners : sequence of PhantomScanner
    travelling : bool
        Whether every head visits every scanner, in sessions; else each is on one, in turn.
    lesions : bool
        Whether heads have a lesion, of the kinds in turn.
    seed : int

    Returns
    -------
    list of Path
        The series written.

    Raises
    ------
    FileExistsError
        If `out` holds files already.
    """
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out}: not empty. Name a new folder, or delete this one first.')
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f'.{out.name}.{uuid.uuid4().hex}')
    try:
        _describe(draft)
        rows = []
        images = []
        for i, head in enumerate(heads):
            subject = f'sub-{i + 1:02d}'
            kind = KINDS[i % len(KINDS)] if lesions else 'none'
            focus = draw_focus(head, kind, np.random.default_rng([seed, i])) if lesions else None
            visits = _visits(i, scanners, travelling)
            rows.append((subject, kind, 'n/a' if travelling else scanners[visits[0]].label))
            for j in visits:
                scan = scan_head(
                    head, scanners[j], np.random.default_rng([seed, i, j]), focus=focus
                )
                parts = [subject, *([f'ses-{scanners[j].label}'] if travelling else [])]
                run = Path(*parts, 'dwi', '_'.join(parts))
                images.append(_write_run(draft, run, scanners[j], scan).relative_to(draft))
                if lesions:
                    folder = draft / 'derivatives' / 'lesions'
                    _save(folder / f'{run}_label-lesion_mask', scan.lesion, scan.affine)
                _write_truth(draft / 'derivatives' / 'truth', run, scan, lesions=lesions)
        _describe_participants(draft, rows)
        _describe_derivatives(draft / 'derivatives', lesions=lesions)
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [out / image for image in images]


def _visits(i: int, scanners: Sequence[PhantomScanner], travelling: bool) -> list[int]:
    """Tell on which scanners head `i` is."""
    return list(range(len(scanners))) if travelling else [i % len(scanners)]


def _describe(root: Path) -> None:
    """Write what describes the dataset as a whole."""
    root.mkdir()
    _write_json(
        root / 'dataset_description',
        {
            'Name': 'Virtual heads (simulated)',
            'BIDSVersion': BIDS_VERSION,
            'DatasetType': 'raw',
            'License': 'CC0',
            'GeneratedBy': [{'Name': PROGRAM, 'Version': __version__}],
        },
    )
    (root / 'README').write_text(README)


def _describe_participants(root: Path, rows: list[tuple[str, ...]]) -> None:
    columns = {
        'participant_id': {'Description': 'Label of the virtual head.'},
        'lesion': {'Description': 'Kind of the simulated lesion.', 'Levels': {}},
        'scanner': {'Description': 'Scanner of this participant, n/a where there are several.'},
    }
    columns['lesion']['Levels'] = {kind: kind for kind in ('none', *KINDS)}
    _write_tsv(root / 'participants', tuple(columns), rows)
    _write_json(root / 'participants', columns)


def _describe_derivatives(root: Path, *, lesions: bool) -> None:
    """Write descriptions of the truth and the lesions, and the sidecars that their files share."""
    names = {'truth': 'Truth of the virtual heads'}
    if lesions:
        names['lesions'] = 'Lesions of the virtual heads'
        mask = {'Type': 'Lesion', 'Simulated': True}
        _write_json(root / 'lesions' / 'label-lesion_mask', mask)
    for folder, name in names.items():
        _write_json(
            root / folder / 'dataset_description',
            {
                'Name': f'{name} (simulated)',
                'BIDSVersion': BIDS_VERSION,
                'DatasetType': 'derivative',
                'License': 'CC0',
                'GeneratedBy': [{'Name': PROGRAM, 'Version': __version__}],
                'SourceDatasets': [{'URL': '../..'}],
                'DatasetLinks': {'raw': '../..'},
            },
        )
    truth = root / 'truth'
    (truth / '.bidsignore').write_text('\n'.join(_IGNORED) + '\n')
    for key, (name, facts) in TRUTH.items():
        if key == 'lesion' and not lesions:
            continue
        canonical = _CANONICAL if key in ('dwiref', 'trace', 'ADC') else {}
        # BIDS asks this of derived images; these three are zero outside the brain
        stripped = {'SkullStripped': key in ('ADC', 'FA', 'V1')}
        _write_json(truth / name, {**facts, **canonical, **stripped, 'Simulated': True})
    _write_tsv(truth / TRUTH['tissue'][0], ('index', 'name'), enumerate(TISSUE_NAMES))


def _write_run(root: Path, run: Path, scanner: PhantomScanner, scan: Scan) -> Path:
    """Write one series in the vendor's integer range, with gradients and sidecar."""
    stem = root / f'{run}_dwi'
    step = scan.series.max() / scanner.protocol.levels
    stored = np.rint(scan.series / step).astype(np.int16)
    path = _save(stem, stored, scan.affine, slope=scanner.slope)
    stem.with_suffix('.bval').write_text(' '.join(f'{b:g}' for b in scan.bvals) + '\n')
    rows = [' '.join(f'{v:.6f}' for v in axis) for axis in scan.bvecs.T]
    stem.with_suffix('.bvec').write_text('\n'.join(rows) + '\n')
    sidecar = scanner.metadata(stored.shape[2], f'{PROGRAM} {__version__}')
    _write_json(stem, sidecar)
    return path


def _write_truth(root: Path, run: Path, scan: Scan, *, lesions: bool) -> None:
    for key, (name, _) in TRUTH.items():
        if key != 'lesion' or lesions:
            stored = np.int16 if key in _SIXTEEN_BITS else None
            _save(root / f'{run}_{name}', scan.truth.maps[key], scan.truth.affine, stored=stored)


def _save(
    stem: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    slope: float | None = None,
    stored: type | None = None,
) -> Path:
    """Save an image whose first axis is the readout and whose second is the phase-encode axis.

    `slope` goes into the header beside the integers as they are; for a type to be `stored` as,
    slope and intercept are found.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data.astype(np.uint8) if data.dtype == bool else data, affine)
    image.header.set_xyzt_units('mm', 'sec')
    image.header.set_dim_info(freq=0, phase=1, slice=2)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    if stored is not None:
        image.header.set_data_dtype(stored)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path = stem.with_name(stem.name + '.nii.gz')
    nib.save(image, path)
    return path


def _write_json(stem: Path, content: dict[str, Any]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix('.json').write_text(json.dumps(content, indent=2) + '\n')


def _write_tsv(stem: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    lines = ['\t'.join(map(str, row)) for row in (columns, *rows)]
    stem.with_suffix('.tsv').write_text('\n'.join(lines) + '\n')
