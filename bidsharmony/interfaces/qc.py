"""Put together all that was measured of a run, with what its reader must know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


class _MeasureRunInput(BaseInterfaceInputSpec):
    run = traits.Dict(mandatory=True, desc='the run: see workflows.dwi.describe_run')
    compared = traits.Dict(mandatory=True, desc='see interfaces.compare.CompareRun')
    compare_figures = InputMultiObject(File(exists=True), mandatory=True, desc='likewise, PNG')
    map_figures = InputMultiObject(File(exists=True), desc='PNG: see interfaces.compare.ShowMaps')
    trace_facts = traits.Dict(mandatory=True)
    bias_facts = traits.Dict(mandatory=True)
    network_facts = traits.Dict(mandatory=True)
    guarantee = traits.Dict(desc='of the series, where one is made')
    series_facts = traits.Dict(desc='likewise: see interfaces.series.HarmonizeSeries')
    shared_facts = traits.Dict(desc='where a gain is shared: see interfaces.shared.ShareGain')
    noise_facts = traits.Dict(desc='likewise: see interfaces.series.HarmonizeSeries')
    denoising = traits.Dict(mandatory=True, desc='mppca, rician: whether they were done')
    b0_agreement = traits.Dict(mandatory=True, desc='see interfaces.noise.MeasureB0s')
    lesions = traits.Dict(desc='where masks are: see interfaces.lesions.MeasureLesions')
    lesion_figures = InputMultiObject(File(exists=True), desc='likewise, PNG')
    series_figures = InputMultiObject(File(exists=True), desc='of the series: shells.ShowSeries')
    spaces = traits.List(traits.Dict, desc='of each standard space: spaces.BringToSpace')
    space_figures = InputMultiObject(File(exists=True), desc='likewise, PNG')
    n_replaced = traits.Int(0, usedefault=True, desc='b=0 voxels that were not finite')
    n_not_finite = traits.Int(0, usedefault=True, desc='series values that are not finite')


class _MeasureRunOutput(TraitedSpec):
    qc_file = File(exists=True, desc='every number, JSON')
    figure_files = OutputMultiObject(File(exists=True), desc='PNG pictures')
    figure_descs = OutputMultiObject(Str, desc='what each picture shows')


class MeasureRun(SimpleInterface):
    """Write the run's QC file, and list its pictures."""

    input_spec = _MeasureRunInput
    output_spec = _MeasureRunOutput

    def _run_interface(self, runtime):
        qc_file = Path(runtime.cwd) / 'qc.json'
        qc_file.write_text(dump_json(self._assemble()))
        self._results['qc_file'] = str(qc_file)
        kinds = ('compare', 'map', 'lesion', 'series', 'space')
        given = [getattr(self.inputs, f'{kind}_figures') for kind in kinds]
        files = [file for some in given if isdefined(some) for file in some]
        self._results['figure_files'] = files
        self._results['figure_descs'] = [Path(file).stem for file in files]
        return runtime

    def _assemble(self) -> dict[str, Any]:
        """Put every number in its place."""
        compared = dict(self.inputs.compared)
        figures = compared.pop('summary')
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
                'gain': compared.pop('gain'),
                'shared': dict(shared) if isdefined(shared := self.inputs.shared_facts) else None,
                'guarantee': dict(self.inputs.guarantee) if series else None,
                'series': dict(self.inputs.series_facts) if series else None,
                'adc': compared.pop('adc'),
                'lesions': dict(self.inputs.lesions) if isdefined(self.inputs.lesions) else None,
                'spaces': [dict(space) for space in self._spaces()],
                **compared,
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
