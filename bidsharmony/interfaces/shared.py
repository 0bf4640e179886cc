"""Give a run the gain and bias field that it shares with others of its session."""

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

from bidsharmony.interfaces.volumes import geometry_header, load_mask, load_volume, save_volume


class _ShareGainInput(BaseInterfaceInputSpec):
    gain_file = File(exists=True, mandatory=True, desc='own gain, (I, J, K)')
    field_file = File(exists=True, mandatory=True, desc='own bias field, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='own brain, (I, J, K)')
    members = traits.List(traits.Str, mandatory=True, desc='stems of the group, in its order')
    own = traits.Int(mandatory=True, desc='position of this run among them')
    maps = traits.List(traits.Int, mandatory=True, desc='same number: same gain and field')
    gain_files = traits.List(File(exists=True), mandatory=True, desc='of every member')
    field_files = traits.List(File(exists=True), mandatory=True, desc='of every member')
    mask_files = traits.List(File(exists=True), mandatory=True, desc='of every member')


class _ShareGainOutput(TraitedSpec):
    gain_file = File(exists=True, desc='gain to multiply by, (I, J, K)')
    field_file = File(exists=True, desc='bias field to divide by, (I, J, K)')
    facts = traits.Dict(
        desc='with, same_map: stems; level_change, map_change_p95: natural logarithms'
    )


class ShareGain(SimpleInterface):
    """Bring gain over field to the level of the group, and share the maps that can be shared.

    `mask_file` says where the change is measured; the level is taken from the members' own masks.
    """

    input_spec = _ShareGainInput
    output_spec = _ShareGainOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.shared import share_maps

        names, maps, own = self.inputs.members, self.inputs.maps, self.inputs.own
        gain, field = share_maps(
            *(
                [load_volume(path, np.float64) for path in paths]
                for paths in (self.inputs.gain_files, self.inputs.field_files)
            ),
            [load_mask(path) for path in self.inputs.mask_files],
            same=self.inputs.maps,
            own=own,
        )
        mine = [
            load_volume(path, np.float64)
            for path in (self.inputs.gain_file, self.inputs.field_file)
        ]
        mask = load_mask(self.inputs.mask_file)
        before, after = (np.log(g[mask] / f[mask]) for g, f in (mine, (gain, field)))
        change = after - before
        header = nb.load(self.inputs.gain_file).header
        single = geometry_header(header, header.get_data_shape()[:3])
        folder = Path(runtime.cwd)
        self._results['gain_file'] = save_volume(folder / 'gain.nii.gz', gain, single)
        self._results['field_file'] = save_volume(folder / 'field.nii.gz', field, single)
        partners = [ix for ix in range(len(names)) if ix != own]
        self._results['facts'] = {
            'with': [names[ix] for ix in partners],
            'same_map': [names[ix] for ix in partners if maps[ix] == maps[own]],
            'level_change': float(np.median(after) - np.median(before)),
            'map_change_p95': float(np.percentile(np.abs(change - np.median(change)), 95)),
        }
        return runtime
