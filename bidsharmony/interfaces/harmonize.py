"""Run the network on the summary images, and carry its gain to the series."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bidsharmony.interfaces.summary import B_CANONICAL
from bidsharmony.interfaces.volumes import (
    geometry_header,
    grid_header,
    iterate_volumes,
    load_mask,
    load_volume,
    save_volume,
    write_volumes,
)

RATIO_LIMIT = 1e-6
"""Largest relative change of S_b/S_0 that float32 rounding may cause."""


class _HarmonizeSummaryInput(BaseInterfaceInputSpec):
    b0_file = File(exists=True, mandatory=True, desc='mean b=0 without bias, (I, J, K)')
    trace_file = File(exists=True, mandatory=True, desc='trace image without bias, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    metadata = traits.Dict(mandatory=True, desc='scanner facts, BIDS keys and units')
    trace_facts = traits.Dict(mandatory=True, desc='how the trace image was made')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    canonical_resolution = traits.Float(desc='in-plane FWHM instead of that of the weights, mm')
    weights = File(exists=True, desc='weights instead of the shipped ones')
    threads = traits.Int(1, usedefault=True, nohash=True, desc='threads of torch')


class _HarmonizeSummaryOutput(TraitedSpec):
    b0_file = File(exists=True, desc="canonical b=0, (I', J', K')")
    trace_file = File(exists=True, desc="canonical trace image at b=1000, (I', J', K')")
    adc_file = File(exists=True, desc="ADC of the two, mm2/s, (I', J', K')")
    uncertainty_file = File(exists=True, desc="uncertainty, canonical unit, (I', J', K')")
    mask_file = File(exists=True, desc="brain, (I', J', K')")
    gain_file = File(exists=True, desc='gain, canonical unit per scanner unit, (I, J, K)')
    facts = traits.Dict(desc='robust_scale, what the canonical images are, weights_sha256')


class HarmonizeSummary(SimpleInterface):
    """Turn the two summary images of a run into canonical ones, and predict the gain."""

    input_spec = _HarmonizeSummaryInput
    output_spec = _HarmonizeSummaryOutput

    def _run_interface(self, runtime):
        from bidsharmony.network.inference import harmonize_summary
        from bidsharmony.numerics.diffusion import apparent_diffusion
        from bidsharmony.numerics.grids import resample_to_shape
        from bidsharmony.numerics.intensity import robust_scale

        image = nb.load(self.inputs.b0_file)
        b0, mask = load_volume(self.inputs.b0_file), load_mask(self.inputs.mask_file)
        trace = load_volume(self.inputs.trace_file)
        scale = robust_scale(b0, trace, mask)
        weights, fwhm_mm = self.inputs.weights, self.inputs.canonical_resolution
        result = harmonize_summary(
            b0,
            trace,
            image.affine,
            axis=self.inputs.slice_axis,
            scale=scale,
            metadata={**self.inputs.metadata, 'BValue': self.inputs.trace_facts['b_acquired']},
            mask=mask,
            fwhm_mm=fwhm_mm if isinstance(fwhm_mm, float) else None,
            weights=Path(weights) if isinstance(weights, str) else None,
            threads=self.inputs.threads,
        )
        fine_mask = resample_to_shape(mask.astype(np.float32), result.b0.shape) >= 0.5
        adc = apparent_diffusion(result.b0, result.trace, fine_mask, B_CANONICAL)
        folder = Path(runtime.cwd)
        fine = grid_header(image.header, result.b0.shape, result.affine)
        for name, data in (
            ('b0', result.b0),
            ('trace', result.trace),
            ('adc', adc),
            ('uncertainty', result.uncertainty),
            ('mask', fine_mask),
        ):
            self._results[f'{name}_file'] = save_volume(
                folder / f'canonical_{name}.nii.gz', np.asarray(data), fine
            )
        self._results['gain_file'] = save_volume(
            folder / 'gain.nii.gz', result.gain, geometry_header(image.header, image.shape)
        )
        self._results['facts'] = {
            'robust_scale': float(scale),
            'canonical_fwhm_mm': float(result.fwhm_mm),
            'canonical_profile_mm': float(result.profile_mm),
            'thickness_mm': {
                'before': float(result.acquired_mm),
                'after': float(result.thickness_mm),
            },
            'measured': dict(result.marks),
            'weights_sha256': str(result.weights_sha256),
        }
        return runtime


class _ApplyGainInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    field_file = File(exists=True, mandatory=True, desc='bias field to divide by, (I, J, K)')
    gain_file = File(exists=True, mandatory=True, desc='gain to multiply by, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')


class _ApplyGainOutput(TraitedSpec):
    dwi_file = File(exists=True, desc='harmonized series, float32, (I, J, K, N)')
    guarantee = traits.Dict(desc='max_ratio_change, n_voxels, limit')
    n_not_finite = traits.Int(desc='voxels of the series that are not finite numbers')


class ApplyGain(SimpleInterface):
    """Multiply every volume by one field, then read the file back and see that S_b/S_0 stayed."""

    input_spec = _ApplyGainInput
    output_spec = _ApplyGainOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.gain import apply_gain

        gain = load_volume(self.inputs.gain_file, np.float64)
        field = gain / load_volume(self.inputs.field_file, np.float64)
        image = nb.load(self.inputs.dwi_file)
        out_file = write_volumes(
            Path(runtime.cwd) / 'dwi.nii.gz',
            geometry_header(image.header, image.shape),
            (apply_gain(volume, field) for volume in iterate_volumes(self.inputs.dwi_file)),
        )
        self._results['dwi_file'] = out_file
        guarantee, not_finite = measure_guarantee(
            self.inputs.dwi_file,
            out_file,
            list(self.inputs.b0_ixs),
            load_mask(self.inputs.mask_file),
        )
        if not guarantee['max_ratio_change'] < RATIO_LIMIT:
            raise ValueError(
                f'the written series changes S_b/S_0 by {guarantee["max_ratio_change"]:.1e}, '
                f'more than {RATIO_LIMIT:g}. Report this run to the authors.'
            )
        self._results['guarantee'] = guarantee
        self._results['n_not_finite'] = not_finite
        return runtime


def measure_guarantee(
    before: str | Path, after: str | Path, b0_ixs: list[int], mask: np.ndarray
) -> tuple[dict[str, float | int], int]:
    """Compare S_b/S_0 of two files, holding one volume of each at a time.

    Parameters
    ----------
    before, after : path
        (I, J, K, N), as scanned and as written
    b0_ixs : list of int
    mask : (I, J, K) bool

    Returns
    -------
    guarantee : dict
        ``max_ratio_change``, ``n_voxels``, ``limit``
    not_finite : int
        values of ``after`` that are not finite
    """
    from bidsharmony.numerics.gain import ratio_change

    b0_before, b0_after = (
        sum(iterate_volumes(path, b0_ixs)) / len(b0_ixs) for path in (before, after)
    )
    for volume in iterate_volumes(before, b0_ixs):
        # where b=0 signals of both signs cancel, their mean is rounding and no S_0
        mask = mask & (volume > 0)
    largest, n_voxels, not_finite = 0.0, 0, 0
    pairs = zip(iterate_volumes(before), iterate_volumes(after), strict=True)
    for ix, (old, new) in enumerate(pairs):
        not_finite += int(new.size - np.isfinite(new).sum())
        if ix in b0_ixs and len(b0_ixs) == 1:
            continue
        change = ratio_change(
            np.stack([b0_before, old], axis=-1), np.stack([b0_after, new], axis=-1), [0], mask
        )
        largest = max(largest, change.max_relative)
        n_voxels = max(n_voxels, change.n_voxels)
    guarantee = {
        'max_ratio_change': float(largest),
        'n_voxels': int(n_voxels),
        'limit': RATIO_LIMIT,
    }
    return guarantee, not_finite
