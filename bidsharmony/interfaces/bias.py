"""Estimate the receive coil's bias field, and take it out of an image."""

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
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    apply = traits.Bool(True, usedefault=True, desc='False gives a flat field')


class _EstimateBiasOutput(TraitedSpec):
    field_file = File(exists=True, desc='positive field, mean 1 in the brain, (I, J, K)')
    b0_file = File(exists=True, desc='mean b=0 divided by the field')
    facts = traits.Dict(desc='applied, shrink_factor, cv_before, cv_after, note')


class EstimateBias(SimpleInterface):
    """Estimate one field on the mean b=0, and divide that by it."""

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
        self._results['b0_file'] = save_volume(
            folder / 'b0_unbiased.nii.gz', b0 / result.field, header
        )
        self._results['facts'] = result.facts
        return runtime


class _CorrectBiasInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image as scanned, (I, J, K)')
    field_file = File(exists=True, mandatory=True, desc='field to divide by, (I, J, K)')


class _CorrectBiasOutput(TraitedSpec):
    out_file = File(exists=True, desc='image divided by the field')


class CorrectBias(SimpleInterface):
    """Divide an image by a field that is known."""

    input_spec = _CorrectBiasInput
    output_spec = _CorrectBiasOutput

    def _run_interface(self, runtime):
        image = nb.load(self.inputs.in_file)
        self._results['out_file'] = save_volume(
            Path(runtime.cwd) / 'unbiased.nii.gz',
            load_volume(self.inputs.in_file) / load_volume(self.inputs.field_file),
            geometry_header(image.header, image.shape),
        )
        return runtime
