"""Judge the network on real scans, where no truth is known: does the scan come back?

    python benchmarks/fidelity.py --bids DIR [--stroke DIR] [--anatomy DIR] [--weights FILE]
                                  [--out fidelity.json] [--figures DIR]

Every diffusion run of a BIDS dataset, and one clinical stroke case (b=0, trace, brain mask, lesion
mask), goes through the functions of the workflow. What comes out is degraded to the scanner's
contrast and resolution and compared with what went in (`bidsharmony.evaluation.forward`); ringing,
invented structure, the diffusivity of white matter and the lesion are measured. With --figures,
before and after of every run are drawn, and tables are written beside them for the documentation.
With --anatomy, the simulator's truth goes through the same check: that control is simulated.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from csv_tables import write_table
from PIL import Image
from scipy import ndimage

from bidsharmony.bids import collect_dwi
from bidsharmony.evaluation.features import audit_arrays
from bidsharmony.evaluation.forward import Consistency, beyond_band, forward_consistency
from bidsharmony.evaluation.lesions import RULES, dice, segment
from bidsharmony.evaluation.structures import (
    STRUCTURE_AREA,
    STRUCTURE_CONTRAST,
    edge_profile,
    overshoot,
    structures,
)
from bidsharmony.interfaces.inputs import check_run
from bidsharmony.interfaces.qc import rounded
from bidsharmony.interfaces.volumes import load_finite, load_mask, load_volume
from bidsharmony.network.facts import scanner_facts, zero_filling
from bidsharmony.network.inference import Canonical, harmonize_summary
from bidsharmony.numerics.bias import estimate_bias
from bidsharmony.numerics.diffusion import apparent_diffusion, brain_mask, mean_b0
from bidsharmony.numerics.gradients import B_CANONICAL, parse_bvals, parse_bvecs, trace_shell
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import FLUID_ADC, noise_sigma, robust_scale
from bidsharmony.numerics.planes import audit_grid, axial_slices
from bidsharmony.numerics.slices import throughplane_kernel
from bidsharmony.numerics.trace import trace_weighted
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.residual import residual_mosaic

B0_THRESHOLD = 50.0  # s/mm2, the program's default
CHANNELS = ('b0', 'trace')
#: the stroke case's files, by what they hold
STROKE = {
    'b0': 'Subject02_b0.nii.gz',
    'trace': 'Subject02_DWI.nii.gz',
    'lesion': 'Subject02_DAGMNet_CH3_Lesion_Predict.nii.gz',
}
STROKE_NAME = 'stroke'
WEBP_QUALITY = 82
LISTED = 3  # structures written down for each run, image and kind
CONTROL_SLICES = 24
SEED = 1


@dataclass
class Scan:
    """One run as it enters the network: bias-corrected summary images, and what is known."""

    name: str
    scanner: str
    b0: np.ndarray
    trace: np.ndarray
    adc: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    zooms: tuple[float, float, float]
    axis: int
    metadata: dict[str, float]
    b_acquired: float
    extrapolated: bool
    directions: int
    lesion: np.ndarray | None = None


def read_runs(bids_dir: Path, only: str = '') -> list[Scan]:
    """Take the runs of a dataset through the functions of the workflow, up to the network."""
    return [_read_run(run) for run in collect_dwi(bids_dir).runs if re.search(only, run.stem)]


def _read_run(run) -> Scan:
    checked = check_run(run, B0_THRESHOLD)
    axis, zooms, b0_ixs = checked.slice_axis, checked.zooms, list(checked.b0_ixs)
    bvals = parse_bvals(run.bval.read_text(encoding='utf-8-sig'))
    bvecs = parse_bvecs(run.bvec.read_text(encoding='utf-8-sig'))
    b0 = mean_b0(load_finite(run.image, b0_ixs), range(len(b0_ixs)))
    mask = brain_mask(b0, zooms=zooms)
    shell = trace_shell(bvals, b0_threshold=B0_THRESHOLD)
    ixs = np.array(sorted({*b0_ixs, *(int(ix) for ix in shell.ixs)}))
    trace = trace_weighted(
        load_finite(run.image, ixs),
        bvals[ixs],
        bvecs[ixs],
        b0_ixs=np.flatnonzero(np.isin(ixs, b0_ixs)),
        mask=mask,
    )
    field = estimate_bias(b0, mask, zooms, axis).field
    facts = scanner_facts(run.sidecar, checked.shape, zooms, axis)
    return Scan(
        name=run.stem,
        scanner=run.scanner.label,
        b0=b0 / field,
        trace=trace.trace / field,
        adc=trace.adc,
        mask=mask,
        affine=nb.load(run.image).affine,
        zooms=zooms,
        axis=axis,
        metadata=facts.metadata,
        b_acquired=trace.b_acquired,
        extrapolated=trace.extrapolated,
        directions=trace.n_directions,
    )


def read_stroke(folder: Path) -> Scan:
    """Take the clinical case, of whose scanner nothing is known but the voxel size."""
    image = nb.load(folder / STROKE['b0'])
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    b0, trace = (np.maximum(load_volume(folder / STROKE[name]), 0) for name in CHANNELS)
    mask = brain_mask(b0, zooms=zooms)
    field = estimate_bias(b0, mask, zooms, 2).field
    return Scan(
        name=STROKE_NAME,
        scanner='unknown scanner',
        b0=b0 / field,
        trace=trace / field,
        adc=apparent_diffusion(b0, trace, mask),
        mask=mask,
        affine=image.affine,
        zooms=zooms,
        axis=2,
        metadata=scanner_facts({}, image.shape, zooms, 2).metadata,
        b_acquired=B_CANONICAL,
        extrapolated=False,
        directions=0,
        lesion=load_mask(folder / STROKE['lesion']),
    )


def harmonize(scan: Scan, weights: Path | None) -> Canonical:
    """Run the network as the workflow does."""
    return harmonize_summary(
        scan.b0,
        scan.trace,
        scan.affine,
        axis=scan.axis,
        scale=robust_scale(scan.b0, scan.trace, scan.mask),
        metadata={**scan.metadata, 'BValue': scan.b_acquired},
        mask=scan.mask,
        weights=weights,
    )


def check(scan: Scan, made: Canonical) -> tuple[Consistency, list[float]]:
    """Bring the output back to the scanner; the second are the sigmas of the input."""
    stride = zero_filling(scan.metadata, scan.zooms, scan.axis)
    sigma = [noise_sigma(i, scan.mask, scan.axis, stride) for i in (scan.b0, scan.trace)]
    kernel = throughplane_kernel(made.acquired_mm, scan.zooms[scan.axis], made.profile_mm)
    found = forward_consistency(
        np.stack([made.b0, made.trace]),
        made.gain,
        np.stack([scan.b0, scan.trace]),
        scan.mask,
        sigma,
        zooms=scan.zooms,
        axis=scan.axis,
        kernel=kernel,
    )
    return found, [float(s * np.sqrt(np.sum(kernel**2))) for s in sigma]


def measure(scan: Scan, made: Canonical) -> tuple[dict[str, Any], Consistency]:
    """Measure everything about one run."""
    found, sigmas = check(scan, made)
    fine_mask = resample_to_shape(scan.mask.astype(np.float32), made.b0.shape) >= 0.5
    row: dict[str, Any] = {
        'run': scan.name,
        'scanner': scan.scanner,
        'zooms_mm': list(scan.zooms),
        'slice_axis': scan.axis,
        'b_acquired': scan.b_acquired,
        'extrapolated': scan.extrapolated,
        'directions': scan.directions,
        'fitted_fwhm_mm': list(found.fwhm_mm),
        'adc_white_matter': white_matter_adc(scan, made),
    }
    for index, (channel, before, after) in enumerate(
        zip(CHANNELS, (scan.b0, scan.trace), (made.b0, made.trace), strict=True)
    ):
        listed = structures(
            found.residual[index],
            found.predicted[index],
            sigmas[index],
            scan.mask,
            scan.affine,
            axis=scan.axis,
        )
        row[channel] = {
            'snr': float(np.median(before[scan.mask]) / sigmas[index]),
            'beyond_3_sigma_gain': found.beyond_gain[index],
            'beyond_3_sigma': found.beyond[index],
            'nrmse_gain': found.nrmse_gain[index],
            'nrmse': found.nrmse[index],
            'nrmse_noise': found.nrmse_noise[index],
            'slope': found.slope[index],
            'high_frequency': found.high_frequency[index],
            'edge_correlation': found.edge_correlation[index],
            'smoothing': found.smoothing[index],
            'spectrum': found.spectrum[index].tolist(),
            'structures': summarise(listed),
            **ringing(before, after, fine_mask, scan),
        }
    row['freqs_per_pixel'] = found.freqs.tolist()
    row['forward'] = {
        'share_beyond': float(np.mean(made.blend[fine_mask] > 0)),
        'blended_fraction': float(made.blend[fine_mask].mean()),
    }
    if scan.lesion is not None:
        row['lesion'] = lesion_figures(scan, made)
    return row, found


def summarise(listed: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what was added and removed, and what was added away from edges, with the largest."""
    parts = {kind: [s for s in listed if s['kind'] == kind] for kind in ('added', 'removed')}
    lonely = [s for s in parts['added'] if s['edge_share'] < 0.5]
    return {
        **{kind: len(part) for kind, part in parts.items()},
        'added_off_edges': len(lonely),
        'largest': [*lonely[:LISTED], *parts['added'][:LISTED], *parts['removed'][:LISTED]],
    }


def ringing(
    before: np.ndarray, after: np.ndarray, fine_mask: np.ndarray, scan: Scan
) -> dict[str, Any]:
    """Compare edges of the output with the same edges of the input, cubically interpolated."""
    interpolated = resample_to_shape(before, after.shape, order=3)
    inplane = [n for ax, n in enumerate(before.shape) if ax != scan.axis]
    slices = [np.moveaxis(x, scan.axis, 0) for x in (after, interpolated, fine_mask)]
    pixel = float(
        np.mean(
            [
                scan.zooms[ax] * before.shape[ax] / after.shape[ax]
                for ax in range(3)
                if ax != scan.axis
            ]
        )
    )
    new, count = edge_profile(slices[0], slices[1], slices[2], pixel)
    old, _ = edge_profile(slices[1], slices[1], slices[2], pixel)
    return {
        'overshoot_before': overshoot(old) if count else None,
        'overshoot_after': overshoot(new) if count else None,
        'edges': count,
        'beyond_band': beyond_band(slices[0], inplane, slices[2]),
    }


def white_matter_adc(scan: Scan, made: Canonical) -> dict[str, float]:
    """Compare the median ADC of white-matter-like tissue, the same voxels before and after.

    Tissue (`FLUID_ADC`) with neighbours that are tissue too, darker at b=0 than its median: white
    matter has the shorter T2. mm2/s.
    """
    after = apparent_diffusion(made.b0, made.trace, np.ones(made.b0.shape, bool), B_CANONICAL)
    after = resample_to_shape(after, scan.b0.shape)
    tissue = scan.mask & (scan.adc < FLUID_ADC) & (scan.adc > 0.3e-3)
    inner = ndimage.binary_erosion(tissue, ndimage.generate_binary_structure(3, 1))
    like = inner & (scan.b0 < np.median(scan.b0[inner]))
    old, new = float(np.median(scan.adc[like])), float(np.median(after[like]))
    return {'before': old, 'after': new, 'change': new / old - 1, 'voxels': int(like.sum())}


def lesion_figures(scan: Scan, made: Canonical) -> dict[str, Any]:
    """Segment by one rule before and after, and compare contrast in the given mask.

    All on the input's grid. The given mask is a network's, and small: for looking, not a truth.
    """
    images = {
        'before': (scan.b0, scan.trace),
        'after': tuple(resample_to_shape(i, scan.b0.shape) for i in (made.b0, made.trace)),
    }
    near = ndimage.distance_transform_edt(~scan.lesion, sampling=scan.zooms)
    around = scan.mask & (scan.adc < FLUID_ADC) & (near > 4) & (near < 20)
    parts = {when: half_height(t, scan.lesion, around, near) for when, (_, t) in images.items()}
    first = np.moveaxis(scan.mask, scan.axis, 0)
    pixel = float(np.sqrt(np.prod([z for ax, z in enumerate(scan.zooms) if ax != scan.axis])))
    whole = {
        (when, rule): segment(
            *(np.moveaxis(i, scan.axis, 0) for i in pair), first, rule, pixel=pixel
        )
        for when, pair in images.items()
        for rule in RULES
    }
    found: dict[str, Any] = {
        'voxels': int(scan.lesion.sum()),
        'half_height': {
            'voxels': {when: int(part.sum()) for when, part in parts.items()},
            'before_given': dice(parts['before'], scan.lesion),
            'after_given': dice(parts['after'], scan.lesion),
            'after_before': dice(parts['after'], parts['before']),
        },
        # the rule of the simulated lesions, over the whole brain: this one is too small for it
        'whole_brain': {
            rule: {
                'voxels': {w: int(whole[w, rule].sum()) for w in images},
                'after_before': dice(whole['after', rule], whole['before', rule]),
            }
            for rule in RULES
        },
        'contrast': {},
    }
    for when, (b0, trace) in images.items():
        adc = apparent_diffusion(b0, trace, scan.mask | scan.lesion, B_CANONICAL)
        for name, image in (('b0', b0), ('trace', trace), ('adc', adc)):
            inside, outside = image[scan.lesion], image[around]
            found['contrast'].setdefault(name, {})[when] = {
                'ratio': float(np.mean(inside) / np.mean(outside)),
                'cnr': float((np.mean(inside) - np.mean(outside)) / np.std(outside)),
            }
    return found


def half_height(
    image: np.ndarray, lesion: np.ndarray, around: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """Segment a bright lesion at half its height over its surroundings, within 10 mm of a mask.

    The rule is relative to the image itself, so that it is the same before and after. Pieces that
    do not touch the mask are left out.
    """
    threshold = (float(np.mean(image[lesion])) + float(np.mean(image[around]))) / 2
    labels, _ = ndimage.label((image > threshold) & (near <= 10))
    return np.isin(labels, np.setdiff1d(labels[lesion], 0))


def draw(scan: Scan, made: Canonical, found: Consistency) -> bytes:
    """Draw before, after and residual of one run as WebP."""
    scale = robust_scale(scan.b0, scan.trace, scan.mask)
    audit = audit_arrays(
        scan.b0 / scale,
        scan.trace / scale,
        scan.affine,
        scan.mask,
        made.b0,
        made.trace,
        made.affine,
    )
    grid = audit_grid(scan.mask, scan.affine)
    residual = np.stack([axial_slices(r, scan.affine, grid=grid) for r in found.residual], axis=1)
    outline, ixs = None, None
    if scan.lesion is not None:
        weight = axial_slices(scan.lesion.astype(np.float32), scan.affine, grid=grid)
        outline = weight >= 0.5
        area = weight.sum(axis=(1, 2))
        most = int(area.argmax())
        full = np.flatnonzero(audit['mask'].sum(axis=(1, 2)) > 0)
        around = np.array([most - 1, most, most + 1, (most + full[-1]) // 2])
        ixs = np.unique(np.clip(around, full[0], full[-1]))
    figure = residual_mosaic(
        audit['before'].astype(np.float32),
        audit['after'].astype(np.float32),
        residual,
        audit['mask'],
        title=f'{scan.name}   {scan.scanner}',
        outline=outline,
        ixs=ixs,
    )
    image = Image.open(io.BytesIO(save_png(figure))).convert('RGB')
    with io.BytesIO() as stream:
        image.save(stream, format='WEBP', quality=WEBP_QUALITY, method=6)
        return stream.getvalue()


#: tables of the documentation: what they hold by the heads of their columns
COLUMNS = {
    'consistency': {
        'Run': lambda r: r['run'].removeprefix('sub-'),
        'SNR': lambda r: _pair(r, 'snr', '{:.0f}'),
        'Blur (mm)': lambda r: ' x '.join(f'{w:.1f}' for w in r['fitted_fwhm_mm']),
        'Beyond 3 sigma, gain alone (%)': lambda r: _pair(r, 'beyond_3_sigma_gain', '{:.0f}', 100),
        'Beyond 3 sigma (%)': lambda r: _pair(r, 'beyond_3_sigma', '{:.0f}', 100),
        'nRMSE (%)': lambda r: _pair(r, 'nrmse', '{:.1f}', 100),
        'Noise (%)': lambda r: _pair(r, 'nrmse_noise', '{:.1f}', 100),
        'High frequencies': lambda r: _pair(r, 'high_frequency', '{:.1f}'),
        'Smoothing': lambda r: _pair(r, 'smoothing', '{:+.2f}'),
    },
    'detail': {
        'Run': lambda r: r['run'].removeprefix('sub-'),
        'Overshoot before (%)': lambda r: _pair(r, 'overshoot_before', '{:.1f}', 100),
        'Overshoot after (%)': lambda r: _pair(r, 'overshoot_after', '{:.1f}', 100),
        'Finer than the scan (%)': lambda r: _pair(r, 'beyond_band', '{:.1f}', 100),
        'Removed': lambda r: _counts(r, 'removed'),
        'Added': lambda r: _counts(r, 'added'),
        'off edges': lambda r: _counts(r, 'added_off_edges'),
        'ADC before': lambda r: f'{1e3 * r["adc_white_matter"]["before"]:.3f}',
        'ADC after': lambda r: f'{1e3 * r["adc_white_matter"]["after"]:.3f}',
        'b (s/mm2)': lambda r: f'{r["b_acquired"]:.0f}',
    },
    'blend': {
        'Run': lambda r: r['run'].removeprefix('sub-'),
        'Brain beyond 3 sigma (%)': lambda r: f'{100 * r["forward"]["share_beyond"]:.1f}',
        'Blended (%)': lambda r: f'{100 * r["forward"]["blended_fraction"]:.1f}',
    },
}


def _counts(row: dict[str, Any], key: str) -> str:
    return ', '.join(str(row[channel]['structures'][key]) for channel in CHANNELS)


def _pair(row: dict[str, Any], key: str, form: str, times: float = 1.0) -> str:
    values = [row[channel][key] for channel in CHANNELS]
    return ', '.join('n/a' if v is None else form.format(times * v) for v in values)


def table(name: str, rows: list[dict[str, Any]]) -> list[list[str]]:
    """Lay the figures of every run out as text, a header first."""
    columns = COLUMNS[name]
    return [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]


def lesion_table(found: dict[str, Any]) -> list[list[str]]:
    """Lay the figures of the lesion out as text."""
    score = found['half_height']
    rows = [
        ['', 'before', 'after', 'after against before'],
        [
            'voxels at half height',
            str(score['voxels']['before']),
            str(score['voxels']['after']),
            '',
        ],
        [
            'Dice with the given mask',
            f'{score["before_given"]:.2f}',
            f'{score["after_given"]:.2f}',
            f'{score["after_before"]:.2f}',
        ],
    ]
    for name, when in found['contrast'].items():
        for key, words in (('ratio', 'lesion over surroundings'), ('cnr', 'CNR')):
            old, new = when['before'][key], when['after'][key]
            rows.append([f'{name}, {words}', f'{old:.2f}', f'{new:.2f}', f'{new / old:.2f}'])
    return rows


def simulated_control(anatomy: Path, count: int, seed: int) -> dict[str, Any]:
    """Put the simulator's truth itself through the check: what a perfect network would leave.

    Medians over slices of individuals that training never saw, on scanners as it draws them.
    """
    from bidsharmony.network.training import TESTING, load_individuals
    from bidsharmony.physics.pairs import draw_pair

    heads, rng = load_individuals(anatomy, TESTING), np.random.default_rng(seed)
    gathered: dict[str, list] = {key: [] for key in SIMULATED}
    while len(gathered['nrmse']) < count:
        pair = draw_pair(heads, rng)
        size = pair.reconstructed.shape[-1]
        zoom = pair.target.shape[-1] / size
        mask = resample_to_shape(pair.brain, (size, size))[..., None] > 0.9
        stride = max(round(pair.protocol.pixel / zoom), 1)
        sigma = [noise_sigma(i[..., None], mask, 2, stride) for i in pair.reconstructed]
        if mask.sum() * zoom**2 < 5000 or min(sigma) <= 0:
            continue
        found = forward_consistency(
            pair.target[..., None],
            np.exp(resample_to_shape(pair.log_gain, (size, size)))[..., None],
            pair.reconstructed[..., None],
            mask,
            sigma,
            zooms=(zoom, zoom, 1.0),
        )
        for key, name in SIMULATED.items():
            gathered[key].append(getattr(found, name))
    medians = {key: np.median(values, axis=0).tolist() for key, values in gathered.items()}
    return {'simulated': True, 'slices': count, 'seed': seed, **medians}


#: figures of the simulated control, and what `Consistency` calls them
SIMULATED = {
    'beyond_3_sigma_gain': 'beyond_gain',
    'beyond_3_sigma': 'beyond',
    'nrmse': 'nrmse',
    'nrmse_noise': 'nrmse_noise',
    'high_frequency': 'high_frequency',
    'smoothing': 'smoothing',
}


def control_table(control: dict[str, Any]) -> list[list[str]]:
    """Lay the figures of the simulated control out as text."""
    rows = [['Simulated: the truth itself', 'b=0', 'trace']]
    for words, key, form, times in (
        ('Beyond 3 sigma, gain alone (%)', 'beyond_3_sigma_gain', '{:.0f}', 100),
        ('Beyond 3 sigma (%)', 'beyond_3_sigma', '{:.0f}', 100),
        ('nRMSE (%)', 'nrmse', '{:.1f}', 100),
        ('Noise (%)', 'nrmse_noise', '{:.1f}', 100),
        ('High frequencies', 'high_frequency', '{:.1f}', 1),
        ('Smoothing', 'smoothing', '{:+.2f}', 1),
    ):
        rows.append([words, *(form.format(times * value) for value in control[key])])
    return rows


def main() -> int:
    """Print the tables, write JSON and, where asked, figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bids', type=Path, help='a BIDS dataset with diffusion runs')
    parser.add_argument('--stroke', type=Path, help='folder of the clinical case')
    parser.add_argument('--anatomy', type=Path, help='label maps, for the simulated control')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--out', type=Path, default=Path('fidelity.json'))
    parser.add_argument('--figures', type=Path, help='folder for pictures and tables')
    parser.add_argument('--only', default='', help='runs whose name matches this expression')
    options = parser.parse_args()
    scans = read_runs(options.bids, options.only) if options.bids else []
    scans += [read_stroke(options.stroke)] if options.stroke else []
    rows, sha256 = [], ''
    for scan in scans:
        made = harmonize(scan, options.weights)
        row, found = measure(scan, made)
        rows.append(row)
        sha256 = made.weights_sha256
        if options.figures:
            options.figures.mkdir(parents=True, exist_ok=True)
            (options.figures / f'{scan.name}.webp').write_bytes(draw(scan, made, found))
    tables = {name: table(name, rows) for name in COLUMNS}
    for row in rows:
        if 'lesion' in row:
            tables['lesion'] = lesion_table(row['lesion'])
    document = {
        'simulated': False,
        'weights_sha256': sha256,
        'structure_area_mm2': STRUCTURE_AREA,
        'structure_contrast': STRUCTURE_CONTRAST,
        'runs': rows,
    }
    if options.anatomy:
        document['control'] = simulated_control(options.anatomy, CONTROL_SLICES, SEED)
        tables['control'] = control_table(document['control'])
    sys.stdout.write('real scans; two figures are of b=0 and trace\n')
    for lines in tables.values():
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            sys.stdout.write('  '.join(cells).rstrip() + '\n')
        sys.stdout.write('\n')
    options.out.write_text(json.dumps(rounded(document, 4), indent=1) + '\n')
    if options.figures:
        for name, lines in tables.items():
            write_table(options.figures / f'{name}.csv', lines)
    return 0


if __name__ == '__main__':
    sys.exit(main())
