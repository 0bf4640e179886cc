"""Carry the gain to the series, on its own grid or a coarser one."""

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

from bidsharmony.interfaces.files import read_gradients
from bidsharmony.interfaces.guarantee import RATIO_LIMIT, measure_series
from bidsharmony.interfaces.shells import ShellMeans
from bidsharmony.interfaces.volumes import (
    geometry_header,
    grid_header,
    iterate_volumes,
    load_mask,
    load_volume,
    save_volume,
    write_volumes,
)


class _HarmonizeSeriesInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    bval_file = File(exists=True, mandatory=True, desc='b-values, s/mm2')
    bvec_file = File(exists=True, mandatory=True, desc='b-vectors')
    field_file = File(exists=True, mandatory=True, desc='bias field to divide by, (I, J, K)')
    gain_file = File(exists=True, mandatory=True, desc='gain to multiply by, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    noise_file = File(exists=True, mandatory=True, desc='noise of one volume, (I, J, K)')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    zero_filling = traits.Int(1, usedefault=True, desc='pixels for each acquired one, in plane')
    strength = traits.Range(0.0, 1.0, 1.0, usedefault=True, desc='exponent of gain over field')
    output_resolution = traits.Float(desc='voxel of the series that is written, mm')
    network_facts = traits.Dict(mandatory=True, desc='canonical_fwhm_mm and resolution_mm')
    threads = traits.Int(1, usedefault=True, nohash=True, desc='of the comparison')


class _HarmonizeSeriesOutput(TraitedSpec):
    dwi_file = File(exists=True, desc='harmonized series, float32, (I, J, K, N)')
    gain_file = File(exists=True, desc="gain on the grid of that series, (I', J', K')")
    field_file = File(exists=True, desc="bias field on that grid, (I', J', K')")
    mask_file = File(exists=True, desc="brain on that grid, (I', J', K')")
    noise_file = File(exists=True, desc="noise of a volume of that series, (I', J', K')")
    shells_file = File(exists=True, desc="mean of b=0 and of each shell, (I', J', K', shells)")
    noise_facts = traits.Dict(desc='sigma_volume, sigma_harmonized: medians in the brain')
    guarantee = traits.Dict(desc='what became of S_b/S_0, diffusivity, anisotropy and noise')
    facts = traits.Dict(desc='voxel_mm, fwhm_mm and noise_gain of the series')
    n_not_finite = traits.Int(desc='voxels of the series that are not finite numbers')


class HarmonizeSeries(SimpleInterface):
    """Multiply every volume by one field, then read the file back and see what it changed.

    With `output_resolution`, one linear operator brings every volume, the maps and the mask to
    another grid.
    """

    input_spec = _HarmonizeSeriesInput
    output_spec = _HarmonizeSeriesOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.gain import multiplied, positive_field, series_factor

        image, folder = nb.load(self.inputs.dwi_file), Path(runtime.cwd)
        gain = load_volume(self.inputs.gain_file, np.float64)
        bias = load_volume(self.inputs.field_file, np.float64)
        mask = load_mask(self.inputs.mask_file)
        factor = positive_field(series_factor(gain, bias, self.inputs.strength))
        sigma = load_volume(self.inputs.noise_file, np.float64)
        noise = sigma * factor  # it grows and shrinks as the signal
        sigma_volume = float(np.median(sigma[mask]))
        volumes = (
            multiplied(volume, factor)
            for volume in iterate_volumes(self.inputs.dwi_file, as_stored=True)
        )
        operator = self._operator(image)
        if operator is None:
            header = geometry_header(image.header, image.shape)
        else:
            affine = _finer_affine(image, operator.shape)
            header = grid_header(image.header, (*operator.shape, image.shape[3]), affine)
            volumes = map(operator.apply, volumes)
            gain, bias = operator.apply(gain), operator.apply(bias)
            mask, noise = operator.apply(mask) >= 0.5, operator.propagate(noise)
        bvals, bvecs = read_gradients(self.inputs.bval_file, self.inputs.bvec_file)
        seen = ShellMeans(bvals, self.inputs.b0_ixs)
        out_file = write_volumes(folder / 'dwi.nii.gz', header, seen.watch(volumes))
        single = geometry_header(header, header.get_data_shape()[:3])
        means = seen.means()
        self._results['shells_file'] = write_volumes(
            folder / 'shells.nii.gz',
            geometry_header(header, means.shape),
            np.moveaxis(means, -1, 0),
        )
        self._results['dwi_file'] = out_file
        self._results['gain_file'] = save_volume(folder / 'gain.nii.gz', gain, single)
        self._results['field_file'] = save_volume(folder / 'field.nii.gz', bias, single)
        self._results['mask_file'] = save_volume(folder / 'mask.nii.gz', mask, single)
        self._results['noise_file'] = save_volume(folder / 'noise.nii.gz', noise, single)
        self._results['noise_facts'] = {
            'sigma_volume': sigma_volume,
            'sigma_harmonized': float(np.median(noise[mask])),
        }
        self._measure(out_file, mask, bvals, bvecs, native=operator is None)
        native = self._native_mm(image)
        self._results['facts'] = {
            'voxel_mm': [float(zoom) for zoom in header.get_zooms()[:3]],
            'fwhm_mm': {
                'before': native,
                'after': native if operator is None else list(operator.fwhm_mm),
            },
            'noise_gain': 1.0 if operator is None else operator.noise_gain,
        }
        return runtime

    def _native_mm(self, image: nb.Nifti1Image) -> list[float]:
        """Give the scan's resolution along each axis: as measured, else the acquired voxel."""
        measured = self.inputs.network_facts['resolution_mm']
        acquired = [
            float(zoom) * (1 if axis == self.inputs.slice_axis else self.inputs.zero_filling)
            for axis, zoom in enumerate(image.header.get_zooms()[:3])
        ]
        return [float(m or voxel) for m, voxel in zip(measured, acquired, strict=True)]

    def _operator(self, image: nb.Nifti1Image):
        """Design the operator that was asked for; None keeps the grid."""
        from bidsharmony.numerics.resolution import series_operator

        voxel = self.inputs.output_resolution
        if not isinstance(voxel, float):
            return None
        return series_operator(
            image.shape[:3],
            [float(zoom) for zoom in image.header.get_zooms()[:3]],
            self._native_mm(image),
            voxel,
            self.inputs.network_facts['canonical_fwhm_mm'],
        )

    def _measure(
        self,
        out_file: str,
        mask_after: np.ndarray,
        bvals: np.ndarray,
        bvecs: np.ndarray,
        *,
        native: bool,
    ) -> None:
        """Compare the written file with the one that came in."""
        guarantee, self._results['n_not_finite'] = measure_series(
            self.inputs.dwi_file,
            out_file,
            (load_mask(self.inputs.mask_file), mask_after),
            b0_ixs=list(self.inputs.b0_ixs),
            bvals=bvals,
            bvecs=bvecs,
            slice_axis=self.inputs.slice_axis,
            zero_filling=self.inputs.zero_filling,
            native=native,
            threads=self.inputs.threads,
        )
        change = guarantee['max_ratio_change']
        if native and not change < RATIO_LIMIT:
            raise ValueError(
                f'the written series changes S_b/S_0 by {change:.1e}, more than {RATIO_LIMIT:g}. '
                'Report this run to the authors.'
            )
        self._results['guarantee'] = guarantee


def _finer_affine(image: nb.Nifti1Image, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the affine of another grid over the same field of view; axes keep their direction."""
    ratio = np.array(image.shape[:3]) / shape
    return image.affine @ nb.affines.from_matvec(np.diag(ratio), (ratio - 1) / 2)
