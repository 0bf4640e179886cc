"""Take the receive coil's bias field out of the summary images."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bidsharmony.interfaces.volumes import geometry_header, load_mask, load_volume, save_volume


class _EstimateBiasInput(BaseInterfaceInputSpec):
    b0_file = File(exists=True, mandatory=True, desc='mean b=0, (I, J, K)')
    trace_file = File(exists=True, mandatory=True, desc='trace-weighted image, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    apply = traits.Bool(True, usedefault=True, desc='False gives a flat field')


class _EstimateBiasOutput(TraitedSpec):
    field_file = File(exists=True, desc='positive field, mean 1 in the brain, (I, J, K)')
    b0_file = File(exists=True, desc='mean b=0 divided by the field')
    trace_file = File(exists=True, desc='trace-weighted image divided by the field')
    facts = traits.Dict(desc='applied, shrink_factor, cv_before, cv_after, note')


class EstimateBias(SimpleInterface):
    """Estimate one field on the mean b=0 and divide the summary images by it."""

    input_spec = _EstimateBiasInput
    output_spec = _EstimateBiasOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.bias import estimate_bias

        image = nb.load(self.inputs.b0_file)
        b0, mask = load_volume(self.inputs.b0_file), load_mask(self.inputs.mask_file)
        result = estimate_bias(
            b0,
            mask,
            image.header.get_zooms()[:3],
            self.inputs.slice_axis,
            apply=self.inputs.apply,
        )
        folder, header = Path(runtime.cwd), geometry_header(image.header, image.shape)
        self._results['field_file'] = save_volume(
            folder / 'biasfield.nii.gz', result.field, header
        )
        for name, data in (('b0', b0), ('trace', load_volume(self.inputs.trace_file))):
            self._results[f'{name}_file'] = save_volume(
                folder / f'{name}_unbiased.nii.gz', data / result.field, header
            )
        self._results['facts'] = result.facts
        return runtime
