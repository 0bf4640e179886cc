"""Measure a run before and after, and write its figures in numbers and in pictures."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)

from bidsharmony.interfaces.volumes import load_mask, load_volume
from bidsharmony.network.facts import reported_facts, scanner_facts
from bidsharmony.numerics.rounding import rounded

QC_VERSION = 1

RUN_FACTS = ('run', 'subject', 'session', 'scanner', 'input', 'no_series')

NETWORK_FACTS = (
    'weights_sha256',
    'canonical_fwhm_mm',
    'canonical_profile_mm',
    'thickness_mm',
    'measured',
    'resolution_mm',
    'spectrum_factor',
    'strength',
)

NOISE_FACTS = ('sigma_volume', 'sigma_harmonized')

LEAST_DICE = 0.85
"""Of a brain with that of a template; whole brains reach more than .9."""

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class _MeasureRunInput(BaseInterfaceInputSpec):
    run = traits.Dict(mandatory=True, desc='the run: see workflows.dwi.describe_run')
    b0_before = File(exists=True, mandatory=True, desc='mean b=0 as scanned, (I, J, K)')
    trace_before = File(exists=True, mandatory=True, desc='trace image as scanned, (I, J, K)')
    adc_before = File(exists=True, mandatory=True, desc='ADC as scanned, mm2/s, (I, J, K)')
    mask_before = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    b0_after = File(exists=True, mandatory=True, desc="canonical b=0, (I', J', K')")
    trace_after = File(exists=True, mandatory=True, desc="canonical trace, (I', J', K')")
    adc_after = File(exists=True, mandatory=True, desc="canonical ADC, mm2/s, (I', J', K')")
    mask_after = File(exists=True, mandatory=True, desc="brain, (I', J', K')")
    gain_file = File(exists=True, mandatory=True, desc='gain, (I, J, K)')
    field_file = File(exists=True, mandatory=True, desc='bias field, (I, J, K)')
    blend_file = File(exists=True, mandatory=True, desc="weight of the scan, (I', J', K')")
    uncertainty_file = File(exists=True, desc="expected error, (I', J', K')")
    trace_facts = traits.Dict(mandatory=True)
    bias_facts = traits.Dict(mandatory=True)
    network_facts = traits.Dict(mandatory=True)
    guarantee = traits.Dict(desc='of the series, where one is made')
    series_facts = traits.Dict(desc='likewise: see interfaces.series.HarmonizeSeries')
    shared_facts = traits.Dict(desc='where a gain is shared: see interfaces.shared.ShareGain')
    noise_facts = traits.Dict(desc='likewise: see interfaces.series.HarmonizeSeries')
    denoising = traits.Dict(mandatory=True, desc='mppca, rician: whether they were done')
    b0_agreement = traits.Dict(mandatory=True, desc='see interfaces.noise.MeasureB0s')
    zero_filling = traits.Int(1, usedefault=True, desc='pixels for each acquired one, in plane')
    lesions = traits.Dict(desc='where masks are: see interfaces.lesions.MeasureLesions')
    lesion_figures = InputMultiObject(File(exists=True), desc='likewise, PNG')
    series_figures = InputMultiObject(File(exists=True), desc='of the series: shells.ShowSeries')
    spaces = traits.List(traits.Dict, desc='of each standard space: spaces.BringToSpace')
    space_figures = InputMultiObject(File(exists=True), desc='likewise, PNG')
    n_replaced = traits.Int(0, usedefault=True, desc='b=0 voxels that were not finite')
    n_not_finite = traits.Int(0, usedefault=True, desc='series values that are not finite')


class _MeasureRunOutput(TraitedSpec):
    qc_file = File(exists=True, desc='every number, JSON')
    audit_file = File(exists=True, desc='audit slices, npz')
    figure_files = OutputMultiObject(File(exists=True), desc='PNG pictures')
    figure_descs = OutputMultiObject(Str, desc='what each picture shows')


class MeasureRun(SimpleInterface):
    """Compare a run before and after: spectra, texture, gain, bias, ADC and the guarantee."""

    input_spec = _MeasureRunInput
    output_spec = _MeasureRunOutput

    def _run_interface(self, runtime):
        from bidsharmony.evaluation.features import audit_arrays, describe
        from bidsharmony.evaluation.scan import scan_figures
        from bidsharmony.numerics.grids import audit_grid, axial_slices
        from bidsharmony.numerics.intensity import robust_scale
        from bidsharmony.viz.run import run_figures

        image = nb.load(self.inputs.b0_before)
        b0 = load_volume(self.inputs.b0_before)
        mask = load_mask(self.inputs.mask_before)
        trace = load_volume(self.inputs.trace_before)
        scale = robust_scale(b0, trace, mask)
        fine = nb.load(self.inputs.b0_after)
        audit = audit_arrays(
            b0 / scale,
            trace / scale,
            image.affine,
            mask,
            load_volume(self.inputs.b0_after),
            load_volume(self.inputs.trace_after),
            fine.affine,
        )
        adc_before = load_volume(self.inputs.adc_before)
        gain = load_volume(self.inputs.gain_file) * self.inputs.network_facts['robust_scale']
        field = load_volume(self.inputs.field_file)
        adc_after = load_volume(self.inputs.adc_after)
        mask_after = load_mask(self.inputs.mask_after)
        qc = self._assemble(
            figures=scan_figures(
                b0,
                adc_before,
                mask,
                image.header.get_zooms()[:3],
                axis=self.inputs.run['input']['slice_axis'],
                zero_filling=self.inputs.zero_filling,
            ),
            gain=np.percentile(gain[mask], (5, 50, 95)).tolist(),
            adc=[
                float(np.median(adc_before[mask])),
                float(np.median(adc_after[mask_after])),
            ],
            audit=describe(audit),
        )
        grid = audit_grid(mask, image.affine)

        def cut(data: np.ndarray, like: nb.Nifti1Image) -> np.ndarray:
            return axial_slices(data, like.affine, grid=grid)

        uncertainty = self.inputs.uncertainty_file
        pictures = run_figures(
            audit,
            qc,
            gain=cut(gain, image),
            bias=cut(field, image),
            blend=cut(load_volume(self.inputs.blend_file), fine),
            uncertainty=cut(load_volume(uncertainty), fine) if isdefined(uncertainty) else None,
            adc=(cut(adc_before, image), cut(adc_after, fine)),
        )
        self._save(Path(runtime.cwd), qc, audit, pictures)
        return runtime

    def _assemble(
        self,
        *,
        figures: Mapping[str, float | None],
        gain: list[float],
        adc: list[float],
        audit: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Put every number in its place."""
        run, network = self.inputs.run, self.inputs.network_facts
        trace, bias = self.inputs.trace_facts, self.inputs.bias_facts
        source, series = run['input'], not run['no_series']
        noise = self.inputs.noise_facts if series else dict.fromkeys(NOISE_FACTS)
        told = scanner_facts(
            run['sidecar'], source['shape'][:3], source['zooms'], source['slice_axis']
        )
        return rounded(
            {
                'version': QC_VERSION,
                **{key: run[key] for key in RUN_FACTS},
                'sidecar': reported_facts(told, trace['b_acquired']),
                'summary': {
                    **trace,
                    'robust_scale': network['robust_scale'],
                    **figures,
                },
                'b0_agreement': dict(self.inputs.b0_agreement),
                'denoising': {**self.inputs.denoising, **noise},
                'bias': dict(bias),
                'network': {key: network[key] for key in NETWORK_FACTS},
                'forward': dict(network['forward']),
                'gain': dict(zip(('p05', 'median', 'p95'), gain, strict=True)),
                'shared': dict(shared) if isdefined(shared := self.inputs.shared_facts) else None,
                'guarantee': dict(self.inputs.guarantee) if series else None,
                'series': dict(self.inputs.series_facts) if series else None,
                'adc': {'before_median': adc[0], 'after_median': adc[1]},
                'lesions': dict(self.inputs.lesions) if isdefined(self.inputs.lesions) else None,
                'spaces': [dict(space) for space in self._spaces()],
                **audit,
                'notes': [*run['notes'], *([bias['note']] if bias['note'] else [])],
                'warnings': [*run['warnings'], *self._warnings(figures)],
            }
        )

    def _spaces(self) -> list[Mapping[str, Any]]:
        return self.inputs.spaces if isdefined(self.inputs.spaces) else []

    def _warnings(self, figures: Mapping[str, float | None]) -> list[str]:
        """Say what a reader of the images must know."""
        from bidsharmony.evaluation.scan import scan_warnings

        found = scan_warnings(
            figures,
            b_acquired=self.inputs.trace_facts['b_acquired'],
            extrapolated=self.inputs.trace_facts['extrapolated'],
            blended_fraction=self.inputs.network_facts['forward']['blended_fraction'],
        )
        measured = isdefined(self.inputs.noise_facts)
        unknown = measured and not self.inputs.noise_facts['sigma_volume']
        if self.inputs.denoising['rician'] and unknown:
            found.append('No noise could be measured, so no Rician bias was taken out.')
        if isdefined(self.inputs.lesions) and not self.inputs.lesions['n_voxels']:
            found.append('No voxel of the lesion masks lies in the brain.')
        found += filter(None, map(far_from_template, self._spaces()))
        if self.inputs.n_replaced:
            found.append(
                f'{self.inputs.n_replaced} voxels of the b=0 volumes are not finite numbers and '
                'count as 0 in the summary images.'
            )
        if self.inputs.n_not_finite:
            found.append(
                f'{self.inputs.n_not_finite} values of the series are not finite numbers; '
                'they stay so.'
            )
        return found

    def _save(
        self,
        folder: Path,
        qc: Mapping[str, Any],
        audit: Mapping[str, Any],
        pictures: Mapping[str, bytes],
    ) -> None:
        """Write what was measured into the node's folder."""
        qc_file, audit_file = folder / 'qc.json', folder / 'slices.npz'
        qc_file.write_text(dump_json(qc))
        audit_file.write_bytes(npz_bytes(audit))
        files = []
        for desc, content in pictures.items():
            files.append(folder / f'{desc}.png')
            files[-1].write_bytes(content)
        descs = list(pictures)
        for name in ('lesion_figures', 'series_figures', 'space_figures'):
            given = getattr(self.inputs, name)
            if isdefined(given):
                files += [Path(file) for file in given]
                descs += [Path(file).stem for file in given]
        self._results['qc_file'] = str(qc_file)
        self._results['audit_file'] = str(audit_file)
        self._results['figure_files'] = [str(file) for file in files]
        self._results['figure_descs'] = descs


def far_from_template(space: Mapping[str, Any]) -> str:
    """Say that a registration may have failed, or that the scan is a part; '' if neither.

    Examples
    --------
    >>> far_from_template({'space': 'A', 'dice': 0.97})
    ''
    >>> far_from_template({'space': 'A', 'dice': 0.5})[:49]
    'In A the brain overlaps with that of the template'
    """
    overlap = space['dice']
    if overlap is None or overlap >= LEAST_DICE:
        return ''
    return (
        f'In {space["space"]} the brain overlaps with that of the template by a Dice of '
        f'{overlap:.2f} only: the scan holds a part of it, or the registration failed. See the '
        'picture before these images are used.'
    )


def dump_json(content: Mapping[str, Any]) -> str:
    """Write JSON the same way every time."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + '\n'


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
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()
