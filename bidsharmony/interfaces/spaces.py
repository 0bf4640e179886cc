"""Bring canonical images to the space of a template, and say in sidecars that they are there."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)

from bidsharmony.bids.templates import Template
from bidsharmony.interfaces.files import InputError, read_header, read_to_end
from bidsharmony.interfaces.geometry import FORM_TOLERANCE, check_axes, check_sizes
from bidsharmony.interfaces.sidecars import standard_sidecar, transform_sidecar
from bidsharmony.interfaces.volumes import (
    grid_header,
    load_mask,
    load_volume,
    save_volume,
    write_volumes,
)
from bidsharmony.numerics.grids import grid_distance

N_SLICES = 6
"""Of the picture."""

DESCRIBED = ('canonical', 'adc', 'canonical_mask', 'uncertainty')
"""Sidecars of the canonical grid that hold in the template's space too, but for the space."""


def check_template(template: Template) -> None:
    """Hold the files of a template against what registration needs, before any work.

    Raises
    ------
    InputError
        if one is damaged, is no volume, or lies on another grid than the other
    """
    grids = {}
    for name, path in template.files.items():
        read_to_end(path, name)
        header = read_header(path, name)
        if len(header.get_data_shape()) != 3:
            raise InputError(name, f'has a shape of {header.get_data_shape()}. Get it again.')
        check_sizes(header, name)
        check_axes(header, name)
        grids[name] = header.get_data_shape(), header.get_best_affine()
    if template.mask is not None:
        (shape, affine), (other, place) = grids[template.image], grids[template.mask]
        if shape != other or grid_distance(affine, place, shape) > FORM_TOLERANCE:
            raise InputError(template.mask, f'is not on the grid of {template.image}. Get both.')


def picture_name(space: str) -> str:
    """Give the ``desc-`` of a space's picture: letters and digits.

    Examples
    --------
    >>> picture_name('MNI152NLin2009cAsym:res-2')
    'spaceMNI152NLin2009cAsymres2'
    """
    return 'space' + re.sub(r'[^A-Za-z0-9]', '', space)


class _BringToSpaceInput(BaseInterfaceInputSpec):
    b0_file = File(exists=True, mandatory=True, desc='canonical b=0, (I, J, K)')
    trace_file = File(exists=True, mandatory=True, desc='canonical trace image, (I, J, K)')
    mask_file = File(exists=True, mandatory=True, desc='brain, (I, J, K)')
    uncertainty_file = File(exists=True, mandatory=True, desc='of both, (I, J, K)')
    template_file = File(exists=True, mandatory=True, desc="template, (I', J', K')")
    template_mask = File(exists=True, desc="its brain, (I', J', K')")
    space = Str(mandatory=True, desc='name of the space, for the picture')
    uris = traits.List(traits.Str, mandatory=True, desc='BIDS URIs of template and mask')


class _BringToSpaceOutput(TraitedSpec):
    b0_file = File(exists=True, desc="canonical b=0, (I', J', K')")
    trace_file = File(exists=True, desc="canonical trace image, (I', J', K')")
    adc_file = File(exists=True, desc="ADC of the two, mm2/s, (I', J', K')")
    mask_file = File(exists=True, desc="brain, (I', J', K')")
    uncertainty_file = File(exists=True, desc="of both, (I', J', K')")
    xfm_file = File(exists=True, desc='displacement field, (I", J", K", 1, 3) mm')
    facts = traits.Dict(desc='the space, and how well the brain fits in it')
    figure_file = File(exists=True, desc='PNG')


class BringToSpace(SimpleInterface):
    """Register the canonical b=0 to a template, and resample the canonical images there."""

    input_spec = _BringToSpaceInput
    output_spec = _BringToSpaceOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.diffusion import apparent_diffusion
        from bidsharmony.numerics.registration import Mover, register

        folder, like = Path(runtime.cwd), nb.load(self.inputs.template_file)
        affine = nb.load(self.inputs.b0_file).affine
        b0, brain = load_volume(self.inputs.b0_file), load_mask(self.inputs.mask_file)
        template, its_brain = load_volume(self.inputs.template_file), None
        if isdefined(self.inputs.template_mask):
            its_brain = load_mask(self.inputs.template_mask)
        written = folder / 'ants'
        written.mkdir()
        # heads are registered to heads where the template has no mask
        masked = its_brain is not None
        field, field_affine = register(
            b0 * brain if masked else b0,
            affine,
            template * its_brain if masked else template,
            like.affine,
            written,
        )
        move = Mover(field, field_affine, template.shape, like.affine)
        moved = {
            'b0': move(b0, affine),
            'trace': move(load_volume(self.inputs.trace_file), affine),
            'uncertainty': move(load_volume(self.inputs.uncertainty_file), affine),
            'mask': move(brain, affine) >= 0.5,
        }
        if not moved['mask'].any():
            raise ValueError(
                f'{self.inputs.space}: nothing of the brain lies there after the registration. '
                'Check orientation and brain mask of the run, or leave out --output-spaces'
            )
        moved['adc'] = apparent_diffusion(moved['b0'], moved['trace'], moved['mask'])
        header = grid_header(like.header, template.shape, like.affine)
        for name, data in moved.items():
            place = folder / f'{name}.nii.gz'
            self._results[f'{name}_file'] = save_volume(place, data, header)
        vectors = grid_header(like.header, field.shape[:3], field_affine)
        vectors.set_data_shape((*field.shape[:3], 1, 3))
        vectors.set_intent('vector')
        self._results['xfm_file'] = write_volumes(
            folder / 'xfm.nii.gz', vectors, np.moveaxis(field, -1, 0)
        )
        self._results['facts'] = self._measure(moved, template, its_brain, like)
        self._results['figure_file'] = self._show(folder, moved, template, its_brain, like.affine)
        return runtime

    def _measure(self, moved, template, its_brain, like):
        """Say how well the brain fits into the template."""
        from bidsharmony.evaluation.lesions import dice

        both = moved['mask'] if its_brain is None else moved['mask'] & its_brain
        pair = np.stack([moved['b0'][both], template[both]]).astype(np.float64)
        varied = both.sum() > 1 and (pair.std(axis=1) > 0).all()
        return {
            'space': self.inputs.space,
            'picture': picture_name(self.inputs.space),
            'image': self.inputs.uris[0],
            'mask': self.inputs.uris[1] if its_brain is not None else None,
            'voxel_mm': [float(zoom) for zoom in like.header.get_zooms()[:3]],
            'dice': None if its_brain is None else dice(moved['mask'], its_brain),
            'correlation': float(np.corrcoef(pair)[0, 1]) if varied else None,
        }

    def _show(self, folder, moved, template, its_brain, affine):
        """Draw slices of the b=0 with the outlines of the template."""
        from bidsharmony.numerics.planes import audit_grid, axial_slices
        from bidsharmony.viz.figure import save_png
        from bidsharmony.viz.spaces import in_template

        outline = moved['mask'] if its_brain is None else its_brain
        grid = audit_grid(outline, affine)
        figure = in_template(
            *(axial_slices(data, affine, grid=grid) for data in (moved['b0'], template, outline)),
            title=self.inputs.space,
            n_slices=N_SLICES,
        )
        path = folder / f'{picture_name(self.inputs.space)}.png'
        path.write_bytes(save_png(figure))
        return str(path)


class _DescribeSpaceInput(BaseInterfaceInputSpec):
    canonical = traits.Dict(mandatory=True, desc='sidecars: see interfaces.describe')
    adc = traits.Dict(mandatory=True)
    canonical_mask = traits.Dict(mandatory=True)
    uncertainty = traits.Dict(mandatory=True)
    uris = traits.List(traits.Str, mandatory=True, desc='BIDS URIs of template and mask')
    resolution = Str('', usedefault=True, desc="what the name's res- means")


class _DescribeSpaceOutput(TraitedSpec):
    canonical = traits.Dict()
    adc = traits.Dict()
    canonical_mask = traits.Dict()
    uncertainty = traits.Dict()
    xfm = traits.Dict(desc='displacement field')


class DescribeSpace(SimpleInterface):
    """Say in sidecars in which space images are, and by which template."""

    input_spec = _DescribeSpaceInput
    output_spec = _DescribeSpaceOutput

    def _run_interface(self, runtime):
        uris, resolution = list(self.inputs.uris), self.inputs.resolution
        for name in DESCRIBED:
            described = getattr(self.inputs, name)
            self._results[name] = standard_sidecar(described, uris, resolution)
        sources = [*self.inputs.canonical['Sources'], *uris]
        self._results['xfm'] = transform_sidecar(sources)
        return runtime
