"""Write an output folder as a finished run leaves it, from drawn heads: no image is read.

The heads are ellipses with a cortical ribbon, ventricles and, on request, a lesion. The numbers of
qc.json are plausible, not measured.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from bidsharmony.numerics.directions import largest_gap
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.run import figure_name, map_figures, run_figures
from bidsharmony.viz.series import gradient_spheres, shell_mosaic

PIXEL = 1.25  # mm
SIZE = 160  # pixels
FEATURES = (
    'contrast',
    'dissimilarity',
    'homogeneity',
    'ASM',
    'energy',
    'correlation',
    'entropy',
)
SCANNERS = {
    'prisma': ('Siemens', 'Prisma', 3.0, 2.2, 0.02),
    'avanto': ('Siemens', 'Avanto', 1.5, 3.4, 0.06),
    'ingenia': ('Philips', 'Ingenia Elition X', 3.0, 2.0, 0.03),
    'galan': ('Canon', 'Galan', 3.0, 2.8, 0.04),
}  # manufacturer, model, field strength (T), blur (FWHM, mm), noise (of white-matter b=0)


def head(n_slices: int, *, lesion: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Draw (n, 2, 160, 160) b=0 and trace of a head, and its (n, 160, 160) mask."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float) - SIZE / 2
    images, masks = np.zeros((n_slices, 2, SIZE, SIZE)), np.zeros((n_slices, SIZE, SIZE), bool)
    for index, height in enumerate(np.linspace(-0.7, 0.8, n_slices)):
        grow = np.sqrt(1 - height**2)
        angle = np.arctan2(y, x)
        radius = np.hypot(x / (54 * grow), y / (68 * grow))
        folds = 0.045 * np.sin(17 * angle + 5 * height) + 0.03 * np.sin(29 * angle)
        brain = radius < 1
        grey = brain & (radius > 0.82 + folds)
        sulci = brain & (radius > 0.93 + folds)
        ventricles = (np.hypot((np.abs(x) - 9) / 6, (y + 4) / 19) < grow - 0.2) & brain
        b0 = np.select([sulci | ventricles, grey, brain], [2.9, 1.35, 1.0], 0.0)
        adc = np.select([sulci | ventricles, grey, brain], [2.8e-3, 0.85e-3, 0.72e-3], 0.0)
        if lesion and abs(height - 0.1) < 0.25:
            spot = np.hypot(x - 27, y - 20) < 8
            b0, adc = np.where(spot, b0 * 1.2, b0), np.where(spot, 0.4e-3, adc)
        images[index], masks[index] = (b0, b0 * np.exp(-1000 * adc)), brain
    return images, masks


def blur(images: np.ndarray, fwhm: float) -> np.ndarray:
    """Blur the last two axes by a Gaussian of this FWHM (mm)."""
    freqs = np.fft.fftfreq(SIZE, PIXEL)
    squared = freqs[:, None] ** 2 + freqs**2
    transfer = np.exp(-((np.pi * fwhm) ** 2) * squared / (4 * np.log(2)))
    return np.fft.ifft2(np.fft.fft2(images) * transfer).real


def shading(n_slices: int) -> np.ndarray:
    """Receive field (n, 160, 160), brighter on one side, mean about 1."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    return np.repeat((1 + 0.5 * x - 0.7 * y)[None], n_slices, axis=0)


def audit_slices(scanner: str, *, n_slices: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw the audit arrays of one run."""
    rng = np.random.default_rng(seed)
    _, _, _, fwhm, noise = SCANNERS[scanner]
    truth, mask = head(n_slices)
    before = blur(truth, fwhm) * shading(n_slices)[:, None] * 0.8
    before = np.hypot(before + noise * rng.normal(size=before.shape), noise)
    return {
        'before': before.astype(np.float16),
        'after': np.maximum(blur(truth, 2.0), 0).astype(np.float16),
        'mask': mask,
        'version': np.array(1),
    }


def glcm(blurred: float, seed: int) -> dict[str, float]:
    """Plausible texture features: smoother images have less contrast."""
    rng = np.random.default_rng(seed)

    def slope(name: str, distance: int) -> float:
        return distance ** (0.4 if name in FEATURES[:2] else -0.15)

    base = dict(zip(FEATURES, (14.0, 2.4, 0.46, 0.011, 0.105, 0.82, 7.1), strict=True))
    return {
        f'{name}_d{d}': float(
            f'{value * slope(name, d) * (2.0 / blurred) ** 0.3 * rng.normal(1, 0.01):.6g}'
        )
        for d in (1, 2, 4)
        for name, value in base.items()
    }


def qc(
    subject: str, scanner: str, *, session: str | None = None, seed: int = 0, **changes
) -> dict:
    """Write the content of one qc.json; ``changes`` replace top-level keys."""
    maker, model, field, fwhm, noise = SCANNERS[scanner]
    freqs = np.arange(1, 81) / (SIZE * PIXEL)
    rng = np.random.default_rng(seed)

    def spectrum(width: float, floor: float) -> list[float]:
        power = np.exp(-2 * (np.pi * freqs * width) ** 2 / (4 * np.log(2))) / (1 + 90 * freqs**2)
        power = (power + floor**2 * 0.05) * rng.lognormal(0, 0.03, freqs.size)
        power /= power.sum() * (freqs[1] - freqs[0])
        return [float(f'{value:.6g}') for value in power]

    stem = f'sub-{subject}' + (f'_ses-{session}' if session else '') + '_dir-AP'
    document = {
        'version': 1,
        'run': stem,
        'subject': subject,
        'session': session,
        'scanner': {
            'label': f'{maker} {model} {field:g} T',
            'manufacturer': maker,
            'model': model,
            'field_strength': field,
            'software': 'syngo MR E11' if maker == 'Siemens' else None,
        },
        'input': {
            'image': f'bids:raw:sub-{subject}/dwi/{stem}_dwi.nii.gz',
            'b0_image': None,
            'shape': [112, 112, 60, 33],
            'zooms': [2.0, 2.0, 2.2],
            'orientation': 'LAS',
            'slice_axis': 2,
            'n_volumes': 33,
            'n_b0': 3,
            'shells': [{'b': 1000.0, 'n': 30}],
        },
        'no_series': '',
        'sidecar': {
            'used': {
                'MagneticFieldStrength': field,
                'EchoTime': 0.089,
                'BValue': 1000.0,
                'SliceThickness': 2.2,
                'AcquiredPixel': 2.0,
            },
            'missing': ['RepetitionTime'],
            'derived': ['AcquiredPixel'],
        },
        'summary': {
            'trace_method': 'tensor',
            'b_acquired': 1000.0,
            'extrapolated': False,
            'n_directions': 30,
            'robust_scale': 412.0,
            'noise_sigma': 412.0 * noise,
            'snr_b0': float(f'{1 / noise:.6g}'),
            'mask_volume_ml': 1312.4,
            'tissue_share': 0.81,
            'fluid_share': 0.15,
        },
        'b0_agreement': {'shift_mm': 0.31, 'difference': 0.034},
        'denoising': {
            'mppca': False,
            'rician': False,
            'sigma_volume': 412.0 * noise * 3**0.5,
            'sigma_harmonized': noise * 3**0.5,
        },
        'bias': {
            'applied': True,
            'shrink_factor': 4,
            'cv_before': 0.31,
            'cv_after': 0.22,
            'note': '',
        },
        'network': {
            'weights_sha256': 'ab12' * 16,
            'canonical_fwhm_mm': 2.0,
            'canonical_profile_mm': 4.0,
            'thickness_mm': {'before': 2.2, 'after': 4.0},
            'measured': {
                'MeasuredNoiseB0': -1.5,
                'MeasuredNoiseTrace': -1.6,
                'MeasuredSlopeB0': -2.9,
                'MeasuredSlopeTrace': -2.7,
            },
            'resolution_mm': [2.4, 2.3, 2.2],
            'spectrum_factor': {'b0': [0.95, 1.2], 'trace': [0.98, 1.1]},
            'strength': 1.0,
        },
        'gain': {'median': 1.08, 'p05': 0.91, 'p95': 1.34},
        'shared': None,
        'guarantee': {
            'max_ratio_change': 1.13e-7,
            'n_voxels': 164050,
            'limit': 1e-6,
            'diffusion': {
                'method': 'tensor',
                'n_voxels': 164050,
                'md': [7.81e-4, 7.81e-4],
                'md_change': 2.1e-7,
                'fa': [0.31, 0.31],
                'fa_change': 1.4e-7,
                'v1_degrees': 2.3e-5,
                'noise': {'b0': [0.041, 0.0409], 'weighted': [0.11, 0.11]},
            },
        },
        'series': {
            'voxel_mm': [2.0, 2.0, 2.2],
            'fwhm_mm': {'before': [2.4, 2.3, 2.2], 'after': [2.4, 2.3, 2.2]},
            'noise_gain': 1.0,
        },
        'forward': {'blended_fraction': 0.008, 'share_beyond': 0.045, 'limits_sigma': [3.0, 6.0]},
        'adc': {'before_median': 7.81e-4, 'after_median': 7.76e-4},
        'lesions': None,
        'spaces': [],
        'psd': {
            'freqs_per_mm': [float(f'{value:.6g}') for value in freqs],
            'b0': {'before': spectrum(fwhm, noise), 'after': spectrum(2.0, 0.003)},
            'trace': {'before': spectrum(fwhm, 2 * noise), 'after': spectrum(2.1, 0.003)},
        },
        'glcm': {
            'b0': {'before': glcm(fwhm, seed), 'after': glcm(2.0, seed + 1)},
            'trace': {'before': glcm(0.8 * fwhm, seed + 2), 'after': glcm(1.7, seed + 3)},
        },
        'notes': ['1 volume with b = 1.25 counted as b = 0'],
        'warnings': ['motion, eddy currents and distortion are not corrected here'],
    }
    return document | changes


def lesions(n_patches: int = 2) -> dict:
    """Write the block of a qc.json whose run has lesion masks."""
    contrast = {'before': 0.34, 'after': 0.24}
    channels, sides = ('b0', 'trace', 'adc'), {'before': 2.03, 'after': 1.57}
    agreement = {'before': 0.87, 'after': 0.89, 'before_after': 0.93}
    nothing = {'before': 0.0, 'after': 0.0, 'before_after': None}
    return {
        'masks': ['bids:raw:derivatives/lesions/sub-01/dwi/sub-01_label-lesion_mask.nii.gz'],
        'n_voxels': 431,
        'volume_ml': 3.1,
        'n_outside': 4,
        'n_patches': n_patches,
        'contrast_to_noise': dict.fromkeys(channels, sides),
        'contrast': dict.fromkeys(channels, contrast),
        'dice': {'trace_bright': agreement, 'adc_dark': nothing},
        'patches': [
            {
                'volume_ml': 3.0 / (index + 1),
                'peak': {'before': 1.6, 'after': 1.5},
                'contrast_to_noise': sides,
                'dice': {'trace_bright': 0.93, 'adc_dark': None},
            }
            for index in range(min(n_patches, 20))
        ],
    }


def series_figures(audit: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Draw the shells and the directions of a series: 30 on a spiral at b=1000."""
    height = np.linspace(-0.95, 0.95, 30)
    angle, radius = 2.4 * np.arange(30), np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    means, shells = [audit['after'][:, channel] for channel in (0, 1)], [(0, 3), (1000, 30)]
    return {
        'shells': save_png(shell_mosaic(means, audit['mask'], shells)),
        'gradients': save_png(gradient_spheres([(1000, directions, largest_gap(directions))])),
    }


def write_run(
    out_dir: Path, document: dict, scanner: str, *, figures: bool = True, n_slices: int = 9
) -> Path:
    """Write qc.json, audit slices and figures of one run; return the path of qc.json."""
    session = [f'ses-{document["session"]}'] if document['session'] else []
    folder = out_dir.joinpath(f'sub-{document["subject"]}', *session, 'dwi')
    folder.mkdir(parents=True, exist_ok=True)
    audit = audit_slices(scanner, n_slices=n_slices)
    np.savez_compressed(folder / f'{document["run"]}_desc-audit_slices.npz', **audit)
    if figures:
        field = shading(n_slices)
        adc = [
            np.log(np.maximum(images[:, 0], 0.01) / np.maximum(images[:, 1], 0.01)) / 1000
            for images in (audit[when].astype(float) for when in ('before', 'after'))
        ]
        drawn = run_figures(audit, document, adc=tuple(adc))
        drawn |= series_figures(audit)
        drawn |= map_figures(audit['mask'], gain=1.1 / field, bias=field, uncertainty=field / 20)
        pictures = out_dir / f'sub-{document["subject"]}' / 'figures'
        pictures.mkdir(exist_ok=True)
        for desc, png in drawn.items():
            (pictures / figure_name(document['run'], desc)).write_bytes(png)
    qc_file = folder / f'{document["run"]}_desc-harmonized_qc.json'
    qc_file.write_text(json.dumps(document))
    return qc_file


def mark_done(
    out_dir: Path, participant: str, *, refused: list[list[str]] | None = None, **changes
) -> Path:
    """Write the done-marker of a participant over all of its files."""
    files = sorted(path for path in (out_dir / participant).rglob('*') if path.is_file())
    outputs = {
        path.relative_to(out_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    marker = {
        'participant': participant,
        'version': '0.1.0',
        'inputs': {},
        'options': {},
        'outputs': outputs,
        'runs': [
            path.name.removesuffix('_desc-harmonized_qc.json')
            for path in files
            if path.name.endswith('_qc.json')
        ],
        'refused': refused or [],
    }
    done = out_dir / '.bidsharmony' / 'done' / f'{participant}.json'
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(marker | changes))
    return done


def study(out_dir: Path, *, figures: bool = False) -> Path:
    """Write two subjects on each of the four scanners, all marked done."""
    for index, scanner in enumerate(list(SCANNERS) * 2):
        subject = f'{index + 1:02d}'
        write_run(out_dir, qc(subject, scanner, seed=index), scanner, figures=figures, n_slices=4)
        mark_done(out_dir, f'sub-{subject}')
    return out_dir
