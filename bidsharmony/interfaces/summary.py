"""Summarise a series for the network: mean b=0, brain mask, trace-weighted image and ADC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from bidsharmony.interfaces.files import read_gradients
from bidsharmony.interfaces.volumes import (
    geometry_header,
    iterate_volumes,
    load_mask,
    load_volume,
    save_volume,
    write_volumes,
)
from bidsharmony.numerics.gradients import B_CANONICAL, trace_shell

HELD_MB = 128
"""Of the brain's signals that the trace image is made of, held at once (2^20 bytes); what is more
is read again."""


class _PairTraceInput(BaseInterfaceInputSpec):
    trace_file = File(exists=True, mandatory=True, desc='trace image, (I, J, K) or (I, J, K, 1)')
    b0_source = File(exists=True, mandatory=True, desc='image that holds the b=0 volumes')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='their positions in it')
    bvals = traits.List(traits.Float, mandatory=True, desc='of all volumes, s/mm2')


class _PairTraceOutput(TraitedSpec):
    dwi_file = File(exists=True, desc='b=0 volumes and the trace image, (I, J, K, n + 1)')
    bval_file = File(exists=True, desc='b-values, s/mm2')
    bvec_file = File(exists=True, desc='b-vectors, all zero')


class PairTrace(SimpleInterface):
    """Put a trace image behind its b=0 volumes, as one series without directions."""

    input_spec = _PairTraceInput
    output_spec = _PairTraceOutput

    def _run_interface(self, runtime):
        image = nb.load(self.inputs.trace_file)
        b0_ixs, folder = list(self.inputs.b0_ixs), Path(runtime.cwd)
        shape = (*image.shape[:3], len(b0_ixs) + 1)
        self._results['dwi_file'] = write_volumes(
            folder / 'dwi.nii.gz',
            geometry_header(image.header, shape),
            chain(
                iterate_volumes(self.inputs.b0_source, b0_ixs),
                iterate_volumes(self.inputs.trace_file),
            ),
        )
        no_directions = ' '.join('0' * shape[3])
        for kind, text in (
            ('bval', ' '.join(f'{bval:g}' for bval in self.inputs.bvals)),
            ('bvec', '\n'.join([no_directions] * 3)),
        ):
            path = folder / f'dwi.{kind}'
            path.write_text(f'{text}\n')
            self._results[f'{kind}_file'] = str(path)
        return runtime


class _MeanB0Input(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')


class _MeanB0Output(TraitedSpec):
    b0_file = File(exists=True, desc='mean b=0, (I, J, K)')
    n_replaced = traits.Int(desc='voxels of the b=0 volumes that were not finite, taken as 0')


class MeanB0(SimpleInterface):
    """Average the b=0 volumes, one at a time."""

    input_spec = _MeanB0Input
    output_spec = _MeanB0Output

    def _run_interface(self, runtime):
        out_file = Path(runtime.cwd) / 'b0.nii.gz'
        self._results['n_replaced'] = save_mean_b0(
            self.inputs.dwi_file, self.inputs.b0_ixs, out_file
        )
        self._results['b0_file'] = str(out_file)
        return runtime


def save_mean_b0(dwi_file: str | Path, b0_ixs: Sequence[int], out_file: Path) -> int:
    """Write the mean b=0 of a series, and count the voxels that were not finite, taken as 0."""
    image = nb.load(dwi_file)
    shape = image.shape[:3]
    total, replaced = np.zeros(shape), 0
    for volume in iterate_volumes(dwi_file, b0_ixs):
        finite = np.isfinite(volume)
        replaced += int(volume.size - finite.sum())
        total += np.where(finite, volume, 0.0)
    save_volume(out_file, total / len(b0_ixs), geometry_header(image.header, shape))
    return replaced


class _BrainMaskInput(BaseInterfaceInputSpec):
    b0_file = File(exists=True, mandatory=True, desc='mean b=0, (I, J, K)')
    given_file = File(exists=True, desc='brain mask that came with the series, (I, J, K)')
    threads = traits.Int(1, usedefault=True, nohash=True, desc='of the filter')


class _BrainMaskOutput(TraitedSpec):
    mask_file = File(exists=True, desc='brain, (I, J, K)')


class BrainMask(SimpleInterface):
    """Find the brain on the mean b=0, or take the mask that came with the series."""

    input_spec = _BrainMaskInput
    output_spec = _BrainMaskOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.diffusion import found_brain

        image = nb.load(self.inputs.b0_file)
        if isdefined(self.inputs.given_file):
            mask = load_mask(self.inputs.given_file)
        else:
            b0 = load_volume(self.inputs.b0_file)
            mask = found_brain(b0, zooms=image.header.get_zooms()[:3], threads=self.inputs.threads)
        self._results['mask_file'] = save_volume(
            Path(runtime.cwd) / 'mask.nii.gz',
            mask.astype(bool),
            geometry_header(image.header, image.shape, np.uint8),
        )
        return runtime


class _TraceWeightedInput(BaseInterfaceInputSpec):
    dwi_file = File(exists=True, mandatory=True, desc='4-D series, (I, J, K, N)')
    bval_file = File(exists=True, mandatory=True, desc='b-values, s/mm2')
    bvec_file = File(exists=True, mandatory=True, desc='b-vectors')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')
    b0_threshold = traits.Float(50.0, usedefault=True, desc='b-values up to this are b=0, s/mm2')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    threads = traits.Int(1, usedefault=True, nohash=True, desc='of the fit')


class _TraceWeightedOutput(TraitedSpec):
    trace_file = File(exists=True, desc='trace-weighted image at b=1000, (I, J, K)')
    adc_file = File(exists=True, desc='apparent diffusion coefficient, mm2/s, (I, J, K)')
    facts = traits.Dict(desc='trace_method, b_acquired, extrapolated, n_directions')


class TraceWeighted(SimpleInterface):
    """Make the trace-weighted image at b=1000 from the shell nearest to it."""

    input_spec = _TraceWeightedInput
    output_spec = _TraceWeightedOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.trace import trace_weighted

        bvals, bvecs = read_gradients(self.inputs.bval_file, self.inputs.bvec_file)
        b0_ixs = list(self.inputs.b0_ixs)
        shell = trace_shell(bvals, b0_threshold=self.inputs.b0_threshold)
        # Only the volumes that matter are read: other shells never enter memory.
        ixs = np.array(sorted({*b0_ixs, *(int(ix) for ix in shell.ixs)}))
        result = trace_weighted(
            lambda wanted: iterate_volumes(
                self.inputs.dwi_file, ixs[wanted].tolist(), as_stored=True
            ),
            bvals[ixs],
            bvecs[ixs],
            b0_ixs=np.flatnonzero(np.isin(ixs, b0_ixs)),
            mask=load_mask(self.inputs.mask_file),
            b_target=B_CANONICAL,
            held_mb=HELD_MB,
            threads=self.inputs.threads,
        )
        image = nb.load(self.inputs.mask_file)
        header = geometry_header(image.header, image.shape)
        folder = Path(runtime.cwd)
        self._results['trace_file'] = save_volume(folder / 'trace.nii.gz', result.trace, header)
        self._results['adc_file'] = save_volume(folder / 'adc.nii.gz', result.adc, header)
        self._results['facts'] = result.facts
        return runtime
