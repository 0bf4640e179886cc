"""Write a study of drawn heads whose scanners differ by a known effect, or by none.

Unlike `tests.synthetic_runs`, each subject has a head of its own, and spectra and textures of
qc.json are measured on the slices.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bidsharmony.evaluation.features import describe
from bidsharmony.numerics.rounding import rounded
from tests.synthetic_runs import SIZE, blur, mark_done, qc

FINEST = 2.0  # mm, FWHM of the canonical images


def head(subject: int, n_slices: int, atrophy: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw (n, 2, 160, 160) b=0 and trace of one subject, and the (n, 160, 160) mask.

    Atrophy (0 to 1) widens the ventricles.
    """
    rng = np.random.default_rng(1000 + subject)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float) - SIZE / 2
    width, height = rng.uniform(30, 36), rng.uniform(38, 44)
    folds, phase = rng.integers(13, 22), rng.uniform(0, 6)
    angle = np.arctan2(y, x)
    images, masks = np.zeros((n_slices, 2, SIZE, SIZE)), np.zeros((n_slices, SIZE, SIZE), bool)
    for index, level in enumerate(np.linspace(-0.5, 0.5, n_slices)):
        grow = np.sqrt(1 - level**2)
        radius = np.hypot(x / (width * grow), y / (height * grow))
        ribbon = 0.05 * np.sin(folds * angle + phase + 5 * level)
        brain = radius < 1
        grey = brain & (radius > 0.8 + ribbon)
        fluid = brain & (radius > 0.93 + ribbon)
        wide = 3 + 5 * atrophy
        fluid |= (np.hypot((np.abs(x) - 7) / wide, (y + 3) / (2.5 * wide)) < 1) & brain
        b0 = np.select([fluid, grey, brain], [2.9, 1.35, 1.0], 0.0)
        adc = np.select([fluid, grey, brain], [2.8e-3, 0.85e-3, 0.72e-3], 0.0)
        b0 *= 1 + 0.08 * blur(rng.normal(size=(SIZE, SIZE)), 4.0) / 0.2
        images[index], masks[index] = (b0, b0 * np.exp(-1000 * adc)), brain
    return images, masks


def scanned(
    images: np.ndarray, scanner: int, effect: float, rng: np.random.Generator
) -> np.ndarray:
    """Put the mark of a scanner on a head: blur, noise and brightness; none at effect 0."""
    fwhm = FINEST + 0.7 * effect * scanner
    noise = 0.02 * (1 + effect * (scanner % 3))
    marked = blur(images, fwhm) * (1 + 0.1 * effect * (scanner % 2))
    return np.maximum(marked + noise * rng.normal(size=images.shape), 0)


def planted_study(
    out_dir: Path,
    *,
    scanners: int = 3,
    subjects: int = 6,
    n_slices: int = 3,
    effect: float = 1.0,
    rest: float = 0.0,
    travelling: bool = True,
    atrophy: bool = False,
    lesions: dict | None = None,
) -> Path:
    """Write the runs of a study.

    Parameters
    ----------
    out_dir : Path
    scanners, subjects, n_slices : int
        Subjects of each scanner, and slices of each run.
    effect, rest : float
        How much scanners differ before and after.
    travelling : bool
        Whether the same subjects were on every scanner.
    atrophy : bool
        Whether ventricles widen from the first subject to the last.
    lesions : dict, optional
        That block of each qc.json.

    Returns
    -------
    Path
    """
    for scanner in range(scanners):
        for index in range(subjects):
            number = index if travelling else scanner * subjects + index
            images, mask = head(number, n_slices, index / subjects if atrophy else 0.0)
            rng = np.random.default_rng([number, scanner])
            audit = {
                'before': scanned(images, scanner, effect, rng).astype(np.float16),
                'after': scanned(images, scanner, rest, rng).astype(np.float16),
                'mask': mask,
            }
            subject = f'{number + 1:02d}'
            document = qc(subject, 'prisma', session=f'{scanner + 1}' if travelling else None)
            document['scanner'] = {
                'label': f'Maker Model{scanner} 3 T',
                'manufacturer': 'Maker',
                'model': f'Model{scanner}',
                'field_strength': 3.0,
                'software': f'V{scanner % 2}',
            }
            document |= {'lesions': lesions, **rounded(describe(audit))}
            session = [f'ses-{scanner + 1}'] if travelling else []
            folder = out_dir.joinpath(f'sub-{subject}', *session, 'dwi')
            folder.mkdir(parents=True, exist_ok=True)
            stem = folder / document['run']
            np.savez_compressed(f'{stem}_desc-audit_slices.npz', version=np.array(1), **audit)
            Path(f'{stem}_desc-harmonized_qc.json').write_text(json.dumps(document))
    for folder in sorted(out_dir.glob('sub-*')):
        if folder.is_dir():
            mark_done(out_dir, folder.name)
    return out_dir
