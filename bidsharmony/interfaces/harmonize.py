"""Run the network on the summary images."""

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
    load_mask,
    load_volume,
    save_volume,
)


class _HarmonizeSummaryInput(BaseInterfaceInputSpec):
    b0_file = File(exists=True, mandatory=True, desc='mean b=0 without bias, (I, J, K)')
    trace_file = File(exists=True, mandatory=True, desc='trace image without bias, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    metadata = traits.Dict(mandatory=True, desc='scanner facts, BIDS keys and units')
    trace_facts = traits.Dict(mandatory=True, desc='how the trace image was made')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    canonical_resolution = traits.Float(desc='in-plane FWHM instead of that of the weights, mm')
    weights = File(exists=True, desc='weights instead of the shipped ones')
    strength = traits.Range(0.0, 1.0, 1.0, usedefault=True, desc='0 leaves the scan as it is')
    zero_filling = traits.Int(1, usedefault=True, desc='pixels for each acquired one, in plane')
    threads = traits.Int(1, usedefault=True, nohash=True, desc='threads of torch')


class _HarmonizeSummaryOutput(TraitedSpec):
    b0_file = File(exists=True, desc="canonical b=0, (I', J', K')")
    trace_file = File(exists=True, desc="canonical trace image at b=1000, (I', J', K')")
    adc_file = File(exists=True, desc="ADC of the two, mm2/s, (I', J', K')")
    uncertainty_file = File(exists=True, desc="uncertainty, canonical unit, (I', J', K')")
    blend_file = File(exists=True, desc="weight of the scan times the gain, (I', J', K')")
    mask_file = File(exists=True, desc="brain, (I', J', K')")
    gain_file = File(exists=True, desc='gain, canonical unit per scanner unit, (I, J, K)')
    facts = traits.Dict(
        desc='robust_scale, what the canonical images are, weights_sha256, forward'
    )


class HarmonizeSummary(SimpleInterface):
    """Turn the two summary images of a run into canonical ones, and predict the gain."""

    input_spec = _HarmonizeSummaryInput
    output_spec = _HarmonizeSummaryOutput

    def _run_interface(self, runtime):
        from bidsharmony.network.inference import harmonize_summary
        from bidsharmony.numerics.diffusion import apparent_diffusion
        from bidsharmony.numerics.forward import LEAVES, LEFT
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
            strength=self.inputs.strength,
            zero_filling=self.inputs.zero_filling,
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
            ('blend', result.blend),
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
            'resolution_mm': [None if w is None else float(w) for w in result.resolution_mm],
            'strength': float(self.inputs.strength),
            'weights_sha256': str(result.weights_sha256),
            'forward': {
                'blended_fraction': float(result.blend[fine_mask].mean()),
                'share_beyond': float(np.mean(result.blend[fine_mask] > 0)),
                'limits_sigma': [LEAVES, LEFT],
            },
        }
        return runtime
