"""Write a BIDS dataset of tiny simulated heads, whole or damaged on request."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nb
import numpy as np

SHAPE = (24, 24, 12)
ZOOMS = (8.0, 8.0, 10.0)  # mm
N_DIRECTIONS = 6
SIDECAR = {
    'Manufacturer': 'Siemens',
    'ManufacturersModelName': 'Prisma_fit',
    'MagneticFieldStrength': 3,
    'EchoTime': 0.071,
    'RepetitionTime': 5.2,
    'DeviceSerialNumber': 'SERIAL4711',
    'InstitutionName': 'INSTITUTION4711',
    'AcquisitionTime': '13:46:51.260000',
}
DIRECTIONS = np.array(
    [[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]
) / np.sqrt(2)

ADC = 0.8e-3 * (1 + 0.1 * DIRECTIONS[:, 0].mean())
"""Mean diffusivity of the simulated head (mm2/s)."""


def head(seed: int = 0) -> np.ndarray:
    """Simulate b=0 and six directions of an ellipsoid with a core, (I, J, K, 7) int16."""
    rng = np.random.default_rng(seed)
    grid = np.stack(
        np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing='ij'), axis=-1
    )
    radius = np.linalg.norm(grid / 0.8, axis=-1)
    brain = 500.0 * (radius < 1) + 300.0 * (radius < 0.4)
    shading = 1 + 0.3 * grid[..., :1]
    adc = np.where(radius < 0.4, 1.6e-3, 0.8e-3)
    volumes = [brain, *(brain * np.exp(-1000 * adc * (1 + 0.1 * d[0])) for d in DIRECTIONS)]
    series = shading * np.stack(volumes, axis=-1) + rng.normal(0, 5, (*SHAPE, 7))
    return np.abs(series).astype(np.int16)


def affine(zooms: tuple[float, float, float] = ZOOMS) -> np.ndarray:
    """Give a LAS affine centred on the head, mm."""
    scale = np.array([-zooms[0], zooms[1], zooms[2]])
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = -scale * (np.array(SHAPE) - 1) / 2
    return matrix


def write_dataset(root: Path) -> Path:
    """Make an empty raw dataset."""
    root.mkdir(parents=True)
    description = {'Name': 'tiny', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    return root


def write_run(
    root: Path,
    stem: str,
    *,
    seed: int = 0,
    bvals: str | None = '0' + ' 1000' * N_DIRECTIONS + '\n',
    bvecs: bool = True,
) -> Path:
    """Write one run below ``root``; ``stem`` is such as ``sub-01_dir-AP``.

    Returns
    -------
    Path
        the image
    """
    folder = root / stem.split('_')[0] / 'dwi'
    folder.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(head(seed), affine())
    image.header.set_xyzt_units('mm', 'sec')
    image.header['descrip'] = b'Time=134651.260'
    image.set_qform(affine(), code=1)
    image.set_sform(affine(), code=1)
    path = folder / f'{stem}_dwi.nii.gz'
    nb.save(image, path)
    (folder / f'{stem}_dwi.json').write_text(json.dumps(SIDECAR))
    if bvals is not None:
        (folder / f'{stem}_dwi.bval').write_text(bvals)
    if bvecs:
        rows = np.vstack([np.zeros(3), DIRECTIONS]).T
        text = '\n'.join(' '.join(f'{value:.6f}' for value in row) for row in rows)
        (folder / f'{stem}_dwi.bvec').write_text(text + '\n')
    return path


def write_trace(
    root: Path,
    stem: str,
    *,
    seed: int = 0,
    suffix: str = 'trace',
    sidecar: dict | None = None,
    shift: float = 0.0,
) -> Path:
    """Write the trace image that a scanner makes of a head: 3-D, and no gradient file.

    Its ADC is that of ``head``, `ADC` and in the core twice as much, at b=1000; ``shift`` moves it
    along the slices, mm.

    Returns
    -------
    Path
        the image
    """
    folder = root / stem.split('_')[0] / 'dwi'
    folder.mkdir(parents=True, exist_ok=True)
    series = head(seed).astype(float)
    trace = np.exp(np.log(np.maximum(series[..., 1:], 1)).mean(axis=-1))
    place = affine()
    place[2, 3] += shift
    path = folder / f'{stem}_{suffix}.nii.gz'
    nb.save(nb.Nifti1Image(trace.astype(np.float32), place), path)
    content = SIDECAR | {'DiffusionBValue': 1000} if sidecar is None else sidecar
    (folder / f'{stem}_{suffix}.json').write_text(json.dumps(content))
    return path


def keep_b0(image: Path) -> Path:
    """Leave of a written run what a b=0 image has: one volume, its b-value, no b-vectors."""
    whole = nb.load(image)
    first = nb.Nifti1Image(np.asarray(whole.dataobj[..., 0]), None, whole.header)
    nb.save(first, image)
    stem = image.name.removesuffix('.nii.gz')
    image.with_name(f'{stem}.bval').write_text('0\n')
    image.with_name(f'{stem}.bvec').unlink()
    return image


def drop_directions(image: Path) -> Path:
    """Leave of a written run its b=0 and one volume at b=1000 that has no direction."""
    whole = nb.load(image)
    pair = nb.Nifti1Image(np.asarray(whole.dataobj[..., :2]), None, whole.header)
    nb.save(pair, image)
    stem = image.name.removesuffix('.nii.gz')
    image.with_name(f'{stem}.bval').write_text('0 1000\n')
    image.with_name(f'{stem}.bvec').write_text('0 0\n0 0\n0 0\n')
    return image


def write_qsiprep(root: Path, subject: str = 'sub-01') -> Path:
    """Write what QSIPrep leaves of a run: series, mask and anatomy, and next to no sidecar.

    Returns
    -------
    Path
        the series
    """
    stem = f'{subject}_space-ACPC_desc'
    series = write_run(root, f'{stem}-preproc')
    series.with_name(f'{stem}-preproc_dwi.json').write_text(
        json.dumps({'EchoTime': 71, 'Sources': [f'bids:raw:{subject}/dwi/{subject}_dwi.nii.gz']})
    )
    series.with_name(f'{stem}-preproc_dwi.b').write_text('0 0 0 0\n' + '1 0 0 1000\n' * 6)
    brain = np.zeros(SHAPE, np.uint8)
    brain[4:-4, 4:-4, 2:-2] = 1
    nb.save(nb.Nifti1Image(brain, affine()), series.with_name(f'{stem}-brain_mask.nii.gz'))
    anatomy = root / subject / 'anat'
    anatomy.mkdir()
    nb.save(nb.Nifti1Image(brain, affine()), anatomy / f'{stem}-preproc_T1w.nii.gz')
    described = {'SkullStripped': False, 'SpatialReference': 'orig'}
    (anatomy / f'{stem}-preproc_T1w.json').write_text(json.dumps(described))
    (anatomy / f'{subject}_from-ACPC_to-anat_mode-image_xfm.mat').write_text('1 0 0')
    return series


def write_weights(path: Path) -> Path:
    """Write a tiny untrained network: it resamples, and leaves contrast as it is."""
    import torch

    from bidsharmony.network.model import Harmonizer
    from bidsharmony.network.weights import save_weights

    torch.manual_seed(0)
    recipe = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'thickness_mm': 4.0, 'spacing_mm': 4.0}
    save_weights(Harmonizer((8, 8, 8)), path, recipe)
    return path


if __name__ == '__main__':
    # python -m tests.tiny_dataset FOLDER: two participants, one with a pair of runs in one session
    raw = write_dataset(Path(sys.argv[1]))
    for seed, stem in enumerate(('sub-01_dir-AP', 'sub-01_dir-PA', 'sub-02')):
        write_run(raw, stem, seed=seed)
