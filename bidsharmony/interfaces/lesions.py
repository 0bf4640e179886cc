"""Measure what harmonization leaves of a run's lesions, and draw them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bidsharmony.interfaces.masks import load_lesion
from bidsharmony.interfaces.volumes import load_mask, load_volume

SLICES = 4
"""Axial slices of the picture, those with most lesion."""


class _MeasureLesionsInput(BaseInterfaceInputSpec):
    lesion_files = InputMultiObject(File(exists=True), mandatory=True, desc='masks, (I, J, K)')
    uris = traits.List(traits.Str, mandatory=True, desc='BIDS URIs of the masks')
    b0_before = File(exists=True, mandatory=True, desc='mean b=0 as scanned, (I, J, K)')
    trace_before = File(exists=True, mandatory=True, desc='trace image as scanned, (I, J, K)')
    adc_before = File(exists=True, mandatory=True, desc='ADC as scanned, mm2/s, (I, J, K)')
    mask_before = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    b0_after = File(exists=True, mandatory=True, desc="canonical b=0, (I', J', K')")
    trace_after = File(exists=True, mandatory=True, desc="canonical trace, (I', J', K')")
    adc_after = File(exists=True, mandatory=True, desc="canonical ADC, mm2/s, (I', J', K')")
    slice_axis = traits.Range(0, 2, mandatory=True)


class _MeasureLesionsOutput(TraitedSpec):
    lesions = traits.Dict(desc='masks, and the figures of evaluation.preservation')
    figure_files = OutputMultiObject(
        File(exists=True), desc='PNG, named after what they show, where a lesion lies in the brain'
    )


class MeasureLesions(SimpleInterface):
    """Measure contrast, noise and extent of marked lesions before and after, in their union."""

    input_spec = _MeasureLesionsInput
    output_spec = _MeasureLesionsOutput

    def _run_interface(self, runtime):
        from bidsharmony.evaluation.preservation import CHANNELS, lesion_figures
        from bidsharmony.numerics.intensity import robust_scale
        from bidsharmony.numerics.planes import axial_slices, planes_of_most
        from bidsharmony.viz.figure import save_png
        from bidsharmony.viz.mosaic import lesion_pair

        before, after = (
            {
                channel: load_volume(getattr(self.inputs, f'{channel}_{when}'))
                for channel in CHANNELS
            }
            for when in ('before', 'after')
        )
        brain = load_mask(self.inputs.mask_before)
        lesion = load_lesion(self.inputs.lesion_files)
        image = nb.load(self.inputs.b0_before)
        figures = lesion_figures(
            before,
            after,
            lesion,
            brain,
            zooms=[float(zoom) for zoom in image.header.get_zooms()[:3]],
            axis=self.inputs.slice_axis,
        )
        self._results['lesions'] = {'masks': list(self.inputs.uris), **figures}
        planes = planes_of_most(lesion & brain, image.affine, brain, SLICES)
        if planes:
            fine = nb.load(self.inputs.trace_after).affine
            scale = robust_scale(before['b0'], before['trace'], brain)
            brains = axial_slices(brain, image.affine, grid=planes) >= 0.5
            marked = axial_slices(lesion, image.affine, grid=planes)
            files = []
            for name, channel, units in (
                ('lesion', 'trace', (1 / scale, 1.0)),
                ('lesionadc', 'adc', (1e3, 1e3)),  # um2/ms
            ):
                old = units[0] * axial_slices(before[channel], image.affine, grid=planes)
                new = units[1] * axial_slices(after[channel], fine, grid=planes)
                files.append(Path(runtime.cwd) / f'{name}.png')
                if channel == 'adc':  # beside the brain it is noise
                    old, new = (np.where(brains, side, 0) for side in (old, new))
                figure = lesion_pair(old, new, marked, brains, channel=channel)
                files[-1].write_bytes(save_png(figure))
            self._results['figure_files'] = [str(file) for file in files]
        return runtime
