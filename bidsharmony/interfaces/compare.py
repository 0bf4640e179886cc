"""Compare a run before and after, in numbers and in pictures, and draw its maps."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from bidsharmony.interfaces.volumes import load_mask, load_volume
from bidsharmony.numerics.rounding import rounded

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class _CompareRunInput(BaseInterfaceInputSpec):
    b0_before = File(exists=True, mandatory=True, desc='mean b=0 as scanned, (I, J, K)')
    trace_before = File(exists=True, mandatory=True, desc='trace image as scanned, (I, J, K)')
    adc_before = File(exists=True, mandatory=True, desc='ADC as scanned, mm2/s, (I, J, K)')
    mask_before = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    b0_after = File(exists=True, mandatory=True, desc="canonical b=0, (I', J', K')")
    trace_after = File(exists=True, mandatory=True, desc="canonical trace, (I', J', K')")
    adc_after = File(exists=True, mandatory=True, desc="canonical ADC, mm2/s, (I', J', K')")
    mask_after = File(exists=True, mandatory=True, desc="brain, (I', J', K')")
    gain_file = File(exists=True, mandatory=True, desc='gain, (I, J, K)')
    blend_file = File(exists=True, mandatory=True, desc="weight of the scan, (I', J', K')")
    network_facts = traits.Dict(mandatory=True, desc='robust_scale and canonical_fwhm_mm')
    slice_axis = traits.Range(0, 2, mandatory=True, desc='axis along which slices were taken')
    zero_filling = traits.Int(1, usedefault=True, desc='pixels for each acquired one, in plane')


class _CompareRunOutput(TraitedSpec):
    numbers = traits.Dict(desc='summary, gain, adc, and what evaluation.features.describe gives')
    audit_file = File(exists=True, desc='audit slices, npz')
    figure_files = OutputMultiObject(File(exists=True), desc='PNG, named after what they show')


class CompareRun(SimpleInterface):
    """Compare the summary images of a run: spectra, texture, gain and ADC."""

    input_spec = _CompareRunInput
    output_spec = _CompareRunOutput

    def _run_interface(self, runtime):
        from bidsharmony.evaluation.features import audit_arrays, describe
        from bidsharmony.evaluation.scan import scan_figures
        from bidsharmony.numerics.intensity import robust_scale
        from bidsharmony.numerics.planes import audit_planes, axial_slices
        from bidsharmony.viz.run import run_figures

        image = nb.load(self.inputs.b0_before)
        b0 = load_volume(self.inputs.b0_before)
        mask = load_mask(self.inputs.mask_before)
        trace = load_volume(self.inputs.trace_before)
        scale = robust_scale(b0, trace, mask)
        fine = nb.load(self.inputs.b0_after)
        planes = audit_planes(mask, image.affine)
        audit = audit_arrays(
            b0 / scale,
            trace / scale,
            image.affine,
            mask,
            load_volume(self.inputs.b0_after),
            load_volume(self.inputs.trace_after),
            fine.affine,
            planes,
        )
        adc_before = load_volume(self.inputs.adc_before)
        gain = load_volume(self.inputs.gain_file) * self.inputs.network_facts['robust_scale']
        adc_after = load_volume(self.inputs.adc_after)
        mask_after = load_mask(self.inputs.mask_after)
        gains = np.percentile(gain[mask], (5, 50, 95))
        numbers = {
            'summary': scan_figures(
                b0,
                adc_before,
                mask,
                image.header.get_zooms()[:3],
                axis=self.inputs.slice_axis,
                zero_filling=self.inputs.zero_filling,
            ),
            'gain': dict(zip(('p05', 'median', 'p95'), gains.tolist(), strict=True)),
            'adc': {
                'before_median': float(np.median(adc_before[mask])),
                'after_median': float(np.median(adc_after[mask_after])),
            },
            **describe(audit),
        }

        def cut(data: np.ndarray, like: nb.Nifti1Image) -> np.ndarray:
            return axial_slices(data, like.affine, grid=planes[0])

        pictures = run_figures(
            audit,
            # curves are drawn of the numbers that are written
            rounded({**numbers, 'network': self.inputs.network_facts}),
            blend=cut(load_volume(self.inputs.blend_file), fine),
            adc=(cut(adc_before, image), cut(adc_after, fine)),
        )
        folder = Path(runtime.cwd)
        audit_file = folder / 'slices.npz'
        audit_file.write_bytes(npz_bytes(audit))
        self._results['numbers'] = numbers
        self._results['audit_file'] = str(audit_file)
        self._results['figure_files'] = write_pictures(folder, pictures)
        return runtime


class _ShowMapsInput(BaseInterfaceInputSpec):
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    gain_file = File(exists=True, mandatory=True, desc='gain, (I, J, K)')
    field_file = File(exists=True, mandatory=True, desc='bias field, (I, J, K)')
    uncertainty_file = File(exists=True, desc="expected error, (I', J', K')")
    network_facts = traits.Dict(mandatory=True, desc='robust_scale')


class _ShowMapsOutput(TraitedSpec):
    figure_files = OutputMultiObject(File(exists=True), desc='PNG, named after what they show')


class ShowMaps(SimpleInterface):
    """Draw gain, bias field and expected error on the slices that all pictures have."""

    input_spec = _ShowMapsInput
    output_spec = _ShowMapsOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.planes import audit_planes, axial_slices
        from bidsharmony.viz.run import map_figures

        image = nb.load(self.inputs.mask_file)
        grid, mask = audit_planes(load_mask(self.inputs.mask_file), image.affine)

        def cut(data: np.ndarray, affine: np.ndarray = image.affine) -> np.ndarray:
            return axial_slices(data, affine, grid=grid)

        uncertainty = self.inputs.uncertainty_file
        scale = self.inputs.network_facts['robust_scale']
        pictures = map_figures(
            mask,
            gain=cut(load_volume(self.inputs.gain_file) * scale),
            bias=cut(load_volume(self.inputs.field_file)),
            uncertainty=cut(load_volume(uncertainty), nb.load(uncertainty).affine)
            if isdefined(uncertainty)
            else None,
        )
        self._results['figure_files'] = write_pictures(Path(runtime.cwd), pictures)
        return runtime


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> list[str]:
    """Write pictures under what they show, and give their files."""
    files = [folder / f'{desc}.png' for desc in pictures]
    for file, content in zip(files, pictures.values(), strict=True):
        file.write_bytes(content)
    return [str(file) for file in files]


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Pack arrays as a compressed npz whose bytes depend on the arrays alone.

    ``numpy.savez_compressed`` writes the time of day into it.

    Examples
    --------
    >>> with np.load(io.BytesIO(npz_bytes({'mask': np.ones(2, bool)}))) as archive:
    ...     archive['mask'].tolist()
    [True, True]
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f'{name}.npy', date_time=_ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            # half of the time of the usual level, for 2 % more bytes
            archive.writestr(info, member.getvalue(), compresslevel=1)
    return buffer.getvalue()
