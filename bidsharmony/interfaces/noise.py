"""Measure the noise of a series and how its b=0 volumes agree, and take noise out on request."""

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
    iterate_volumes,
    load_finite,
    load_mask,
    load_volume,
    save_volume,
    write_volumes,
)


class _MeasureB0sInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    zero_filling = traits.Int(1, usedefault=True, desc='pixels for each acquired one, in plane')


class _MeasureB0sOutput(TraitedSpec):
    noise_file = File(exists=True, desc='noise of one volume, the same everywhere, (I, J, K)')
    agreement = traits.Dict(desc='shift_mm, difference')


class MeasureB0s(SimpleInterface):
    """Measure the noise of single b=0 volumes, and how far each is from the first one.

    Where there are several, noise is read from their differences, which hold no tissue; fine
    tissue of a single one counts as noise in part.
    """

    input_spec = _MeasureB0sInput
    output_spec = _MeasureB0sOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.intensity import noise_sigma
        from bidsharmony.numerics.motion import head_centre, median_difference

        mask = load_mask(self.inputs.mask_file)
        image = nb.load(self.inputs.mask_file)
        axis, stride = self.inputs.slice_axis, self.inputs.zero_filling
        volumes = iterate_volumes(self.inputs.dwi_file, self.inputs.b0_ixs)
        first = next(volumes)
        start = head_centre(first, mask, image.affine)
        sigmas, shifts, differences = [], [], []
        for volume in volumes:
            shifts.append(np.linalg.norm(head_centre(volume, mask, image.affine) - start))
            differences.append(median_difference(first, volume, mask))
            sigmas.append(noise_sigma(volume - first, mask, axis, stride) / np.sqrt(2))
        if not sigmas:
            sigmas.append(noise_sigma(first, mask, axis, stride))
        self._results['noise_file'] = save_volume(
            Path(runtime.cwd) / 'noise.nii.gz',
            np.full(mask.shape, np.median(sigmas)),
            geometry_header(image.header, image.shape),
        )
        # not a number if there is nothing to compare, and it is written as null
        self._results['agreement'] = {
            'shift_mm': float(np.max(shifts)) if shifts else float('nan'),
            'difference': float(np.max(differences)) if shifts else float('nan'),
        }
        return runtime


class _DenoiseSeriesInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')


class _DenoiseSeriesOutput(TraitedSpec):
    dwi_file = File(exists=True, desc='denoised series, float32, (I, J, K, N)')
    noise_file = File(exists=True, desc='noise that one volume had, (I, J, K)')


class DenoiseSeries(SimpleInterface):
    """Denoise a series by MP-PCA; voxels that are not finite stay so."""

    input_spec = _DenoiseSeriesInput
    output_spec = _DenoiseSeriesOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.denoise import denoise_mppca

        image = nb.load(self.inputs.dwi_file)
        denoised, sigma = denoise_mppca(load_finite(self.inputs.dwi_file, range(image.shape[3])))
        folder = Path(runtime.cwd)
        self._results['dwi_file'] = write_volumes(
            folder / 'dwi.nii.gz',
            geometry_header(image.header, image.shape),
            (
                np.where(np.isfinite(volume), denoised[..., ix], volume)
                for ix, volume in enumerate(iterate_volumes(self.inputs.dwi_file))
            ),
        )
        self._results['noise_file'] = save_volume(
            folder / 'noise.nii.gz', sigma, geometry_header(image.header, image.shape[:3])
        )
        return runtime


class _CorrectRicianInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    noise_file = File(exists=True, mandatory=True, desc='noise of one volume, (I, J, K)')


class _CorrectRicianOutput(TraitedSpec):
    dwi_file = File(exists=True, desc='series without Rician bias, float32, (I, J, K, N)')


class CorrectRician(SimpleInterface):
    """Take from every volume what noise has added to its magnitudes."""

    input_spec = _CorrectRicianInput
    output_spec = _CorrectRicianOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.denoise import remove_rician_bias

        image = nb.load(self.inputs.dwi_file)
        sigma = load_volume(self.inputs.noise_file)
        self._results['dwi_file'] = write_volumes(
            Path(runtime.cwd) / 'dwi.nii.gz',
            geometry_header(image.header, image.shape),
            (
                remove_rician_bias(volume, sigma)
                for volume in iterate_volumes(self.inputs.dwi_file)
            ),
        )
        return runtime
