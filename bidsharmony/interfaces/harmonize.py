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

from bidsharmony.interfaces.volumes import (
    geometry_header,
    grid_header,
    load_mask,
    load_volume,
    save_volume,
)
from bidsharmony.numerics.threads import in_threads


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
    threads = traits.Int(1, usedefault=True, nohash=True, desc='that pass slices')
    device = traits.Str('cpu', usedefault=True, desc='where the network runs')


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
        from bidsharmony.network.summary import harmonize_run

        image = nb.load(self.inputs.b0_file)
        weights, fwhm_mm = self.inputs.weights, self.inputs.canonical_resolution
        run = harmonize_run(
            load_volume(self.inputs.b0_file),
            load_volume(self.inputs.trace_file),
            load_mask(self.inputs.mask_file),
            image.affine,
            axis=self.inputs.slice_axis,
            metadata=self.inputs.metadata,
            b_acquired=self.inputs.trace_facts['b_acquired'],
            strength=self.inputs.strength,
            zero_filling=self.inputs.zero_filling,
            fwhm_mm=fwhm_mm if isinstance(fwhm_mm, float) else None,
            weights=Path(weights) if isinstance(weights, str) else None,
            threads=self.inputs.threads,
            device=self.inputs.device,
        )
        result = run.images
        folder = Path(runtime.cwd)
        fine = grid_header(image.header, result.b0.shape, result.affine)
        images = {
            'b0': result.b0,
            'trace': result.trace,
            'adc': run.adc,
            'uncertainty': result.uncertainty,
            'blend': result.blend,
            'mask': run.mask,
        }

        def save(name: str) -> str:
            path = folder / f'canonical_{name}.nii.gz'
            return save_volume(path, np.asarray(images[name]), fine)

        for name, path in zip(images, in_threads(self.inputs.threads, save, images), strict=True):
            self._results[f'{name}_file'] = path
        self._results['gain_file'] = save_volume(
            folder / 'gain.nii.gz', result.gain, geometry_header(image.header, image.shape)
        )
        self._results['facts'] = run.facts
        return runtime
