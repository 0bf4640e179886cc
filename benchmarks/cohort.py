"""Simulated travelling heads: the same slabs on seven scanners, and what methods make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from bidsharmony.network.inference import unit_excess
from bidsharmony.network.model import encode_metadata
from bidsharmony.network.scan import hold_to_scan, smooth_gain
from bidsharmony.network.spectrum import even_out
from bidsharmony.network.weights import Weights
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.numerics.marks import MARKS, measured_marks
from bidsharmony.numerics.slices import telling
from bidsharmony.physics.heads import Head, brain_positions, draw_slab
from bidsharmony.physics.lesions import KINDS, draw_lesion
from bidsharmony.physics.pairs import (
    CANONICAL_METADATA,
    GRID_SPACING,
    SOLID,
    Pair,
    canonical_profile,
    scan,
    to_grid,
)
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.scanner import blur
from bidsharmony.physics.signal import varied_table
from bidsharmony.physics.slabs import Slab
from bidsharmony.physics.tissue import TISSUE_NAMES

CHANNELS = ('b0', 'trace')
BASELINES = ('input', 'bicubic', 'lanczos')
FOV = 208  # mm
PURE_WHITE, PURE_CORTEX = 0.98, 0.80  # fraction of a pixel; cortex is thin
#: What lies in the slabs of a head, by turns; 'other' is any kind but ischaemia.
IN_SLABS = ('ischaemia', None, 'ischaemia', None, 'other', None, 'ischaemia', None)
BIAS_SD = 0.03  # what bias correction leaves, logarithmic


@dataclass
class Cohort:
    """The same slabs of H heads on S scanners, N slices each; F pixels of 1 mm a side.

    Attributes
    ----------
    protocols : list of Protocol
    truth : (H, N, 2, F, F) float32
        Canonical b=0 and trace.
    brain, white, cortex : (H, N, F, F) bool
        Brain, and nearly pure tissue outside lesions.
    lesion, ischaemia : (H, N, F, F) bool
        The simulator's masks: of all lesions, and of tissue in ischaemic ones.
    images : dict
        By method, (H, S, N, 2, F, F) float32.
    facts : list of list of dict
        What head h's run on scanner s tells the network.
    scans : list of list of (2, N, R, R) float32
        Head h's run on the own grid of scanner s, in units of its b=0 scale.
    """

    protocols: list[Protocol]
    truth: np.ndarray
    brain: np.ndarray
    white: np.ndarray
    cortex: np.ndarray
    lesion: np.ndarray
    ischaemia: np.ndarray
    images: dict[str, np.ndarray]
    facts: list[list[dict[str, float]]]
    scans: list[list[np.ndarray]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, scanners and slices."""
        return self.images['bicubic'].shape[:3]

    def at(self, resolution: float, native: float) -> Cohort:
        """Return the cohort blurred, truth and all methods alike, from the native resolution."""
        if resolution <= native:
            return self
        more = float(np.sqrt(resolution**2 - native**2)) / GRID_SPACING
        images = {name: blur(image, more) for name, image in self.images.items()}
        return replace(self, truth=blur(self.truth, more), images=images)


def simulate(
    heads: Sequence[Head], protocols: list[Protocol], slices: int, seed: int, repeat: int = 0
) -> Cohort:
    """Scan the same slabs of every head on every scanner.

    Parameters
    ----------
    heads : sequence of Head
    protocols : list of Protocol
    slices : int
        Of each head, at fixed positions through the brain.
    seed : int
        Of poses, textures and lesions, and with `repeat` of noise.
    repeat : int
        Another number is another session: same slabs, other noise and field.
    """
    truth, brain, white, cortex, lesion, ischaemia, runs, facts, scans = ([] for _ in range(9))
    tissues = np.eye(len(TISSUE_NAMES))
    for h, head in enumerate(heads):
        positions = brain_positions(head)
        places = np.linspace(0.12, 0.88, slices) * (len(positions) - 1)
        chosen = positions[np.rint(places).astype(int)]
        table = varied_table(np.random.default_rng([11, h]))
        sessions = [np.random.default_rng([seed, 12, h, s, repeat]) for s in range(len(protocols))]
        pairs: list[list[Pair]] = [[] for _ in protocols]
        for n, position in enumerate(chosen):
            slab = _slab(head, int(position), n, np.random.default_rng([seed, 13, h, n]))
            for s, protocol in enumerate(protocols):
                pair = scan(
                    head, slab, table, protocol, sessions[s], bias_sd=BIAS_SD, scale_jitter=0
                )
                pairs[s].append(pair)
            profile = canonical_profile()
            fractions = slab.mean(
                profile, *(tissues[TISSUE_NAMES.index(t)] for t in ('white matter', 'cortex'))
            )
            solid = slab.mean(profile, SOLID)[0] > 0.5  # no lesion where there is fluid
            inside = pair.lesion > 0
            truth.append(pair.target)
            brain.append(pair.brain > 0.5)
            white.append((fractions[0] > PURE_WHITE) & ~inside)
            cortex.append((fractions[1] > PURE_CORTEX) & ~inside)
            lesion.append(pair.lesion > 0.5)
            dark = [part.weight for part in slab.lesions if part.kind == 'ischaemia']
            ischaemia.append((np.max(dark, axis=0) > 0.5) & solid if dark else solid & False)
        masks = np.stack(brain[-slices:])
        shown = telling(masks)
        # measured as the program does, one scale for all slices of a run
        scales = [_scale(run, masks) for run in pairs]
        facts.append([_facts(r, shown, scale) for r, scale in zip(pairs, scales, strict=True)])
        runs.append([_interpolated(r, scale) for r, scale in zip(pairs, scales, strict=True)])
        scans.append(
            [
                np.stack([pair.reconstructed for pair in run], axis=1) / np.float32(scale)
                for run, scale in zip(pairs, scales, strict=True)
            ]
        )

    def by_head(parts: list[np.ndarray]) -> np.ndarray:
        return np.stack(parts).reshape(len(heads), slices, *parts[0].shape)

    images = {
        name: np.stack([[run[name] for run in head_runs] for head_runs in runs])
        for name in BASELINES
    }
    arrays = map(by_head, (truth, brain, white, cortex, lesion, ischaemia))
    return Cohort(list(protocols), *arrays, images, facts, scans)


def _slab(head: Head, position: int, n: int, rng: np.random.Generator) -> Slab:
    """Cut a slab at a position, with a lesion or without by its number."""
    slab = draw_slab(head, FOV, rng, lesion_chance=0.0, position=position)
    kind = IN_SLABS[n % len(IN_SLABS)]
    if kind is None:
        return slab
    if kind == 'other':
        kind = str(rng.choice([k for k in KINDS if k != 'ischaemia']))
    return replace(slab, lesions=(draw_lesion(slab.brain(canonical_profile()), rng, kind),))


def _scale(run: list[Pair], masks: np.ndarray) -> float:
    """Return what the program would divide a run by, beside the scale it was simulated in."""
    b0, trace = np.stack([pair.source for pair in run], axis=1)
    return robust_scale(b0, trace, masks)


def _facts(run: list[Pair], shown: np.ndarray, scale: float) -> dict[str, float]:
    """Return a run's sidecar facts, and the medians of what its telling slices measure."""
    facts = {key: value for key, value in run[0].metadata.items() if key not in MARKS}
    for key in MARKS:
        found = [run[n].metadata[key] for n in shown if key in run[n].metadata]
        if found:
            # noise is told as a logarithm, in units of the scale; a slope has none
            facts[key] = float(np.median(found)) - ('Noise' in key) * float(np.log10(scale))
    return facts


def _interpolated(run: list[Pair], scale: float) -> dict[str, np.ndarray]:
    """Bring a run's slices to the grid by the methods that know no scanner; (N, 2, F, F) each."""
    linear = np.stack([to_grid(pair.reconstructed, FOV, order=1) for pair in run])
    lanczos = np.stack(
        [
            [
                np.asarray(Image.fromarray(channel).resize((FOV, FOV), Image.Resampling.LANCZOS))
                for channel in pair.reconstructed.astype(np.float32)
            ]
            for pair in run
        ]
    )
    spline = np.stack([pair.source for pair in run])
    found = {'input': linear, 'bicubic': spline, 'lanczos': lanczos}
    return {
        name: (np.maximum(image, 0) / scale).astype(np.float32) for name, image in found.items()
    }


@torch.inference_mode()
def passed(
    weights: Weights, slices: np.ndarray, facts: dict[str, float], masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pass a run's slices (N, 2, F, F), in robust units, through the network as the program does.

    Masks, (N, F, F) bool, are where the output's unit is read.

    Returns
    -------
    images : (2, N, F, F) float32
    log_gain : (N, F, F) float32
    """
    condition = encode_metadata(facts)[None]
    made = [weights.model(torch.from_numpy(image[None]), condition) for image in slices]
    out = np.stack([one.images[0].clamp_min(0).numpy() for one in made], axis=1)
    log_gain = np.stack([one.log_gain[0, 0].numpy() for one in made])
    excess = np.float32(unit_excess(weights, out, masks))
    out, _ = even_out(weights, out / excess, masks, (GRID_SPACING, GRID_SPACING))
    return out, log_gain - np.log(excess)


def held(
    weights: Weights,
    out: np.ndarray,
    log_gain: np.ndarray,
    slices: np.ndarray,
    facts: dict[str, float],
    masks: np.ndarray,
    scan: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Hold what the network made, (2, N, F, F), to the scan as the program does.

    `scan`, (2, N, R, R), is the same run on its own grid.

    Returns
    -------
    images : (2, N, F, F) float32
    blend : (N, F, F) float32
        Weight of the scan.
    """
    pixel = FOV / scan.shape[-1]
    images, blend, _ = hold_to_scan(
        out,
        log_gain,
        smooth_gain(log_gain, 0, weights),
        slices.swapaxes(0, 1),
        scan,
        resample_to_shape(masks.astype(np.float32), scan.shape[1:]) >= 0.5,
        axis=0,
        affine=np.diag([1.0, pixel, pixel, 1.0]),
        network=weights,
        zero_filling=max(round(facts.get('AcquiredPixel', pixel) / pixel), 1),
    )
    return images, blend


def harmonize(
    weights: Weights,
    slices: np.ndarray,
    facts: dict[str, float],
    masks: np.ndarray,
    scan: np.ndarray,
) -> np.ndarray:
    """Pass a run's slices through the network and the forward check; (N, 2, F, F) float32."""
    out, log_gain = passed(weights, slices, facts, masks)
    images, _ = held(weights, out, log_gain, slices, facts, masks, scan)
    return np.ascontiguousarray(images.swapaxes(0, 1))


def harmonized(
    weights: Weights, cohort: Cohort, hidden: Callable[[str], bool] = lambda key: False
) -> np.ndarray:
    """Harmonize every run of a cohort, some facts hidden; (H, S, N, 2, F, F) float32."""
    heads, scanners, _ = cohort.shape
    out = np.empty_like(cohort.images['bicubic'])
    for h in range(heads):
        for s in range(scanners):
            facts = {k: v for k, v in cohort.facts[h][s].items() if not hidden(k)}
            slices = cohort.images['bicubic'][h, s]
            out[h, s] = harmonize(weights, slices, facts, cohort.brain[h], cohort.scans[h][s])
    return out


def destroyed(cohort: Cohort, rng: np.random.Generator) -> np.ndarray:
    """Replace every scan by random texture of the truth's mean, spread and resolution.

    It hides the scanner perfectly, and everything else.
    """
    noise = rng.standard_normal(cohort.images['bicubic'].shape, dtype=np.float32)
    noise = blur(noise, 2.0 / GRID_SPACING)
    for channel in range(len(CHANNELS)):
        values = cohort.truth[:, :, channel][cohort.brain]
        one = noise[..., channel, :, :]
        noise[..., channel, :, :] = values.mean() + values.std() * one / one.std()
    return np.maximum(noise, 0)


def repeated(weights: Weights, cohort: Cohort) -> np.ndarray:
    """Harmonize what is harmonized already, as the program would; nRMSE (H, S, 2)."""
    heads, scanners, _ = cohort.shape
    out = np.empty((heads, scanners, 2))
    for h in range(heads):
        masks = cohort.brain[h]
        for s in range(scanners):
            once = cohort.images['network'][h, s]
            again = once / np.float32(robust_scale(once[:, 0], once[:, 1], masks))
            marks = [measured_marks(again[n]) for n in telling(masks)]
            marks = [mark for mark in marks if mark]
            facts = {
                **CANONICAL_METADATA,
                'AcquiredPixel': weights.fwhm_mm,
                **{key: float(np.median([mark[key] for mark in marks])) for key in MARKS if marks},
            }
            twice = harmonize(weights, again, facts, masks, again.swapaxes(0, 1))
            for c in range(2):
                first, second = once[:, c][masks], twice[:, c][masks]
                out[h, s, c] = np.sqrt(np.mean((second - first) ** 2) / np.mean(first**2))
    return out
