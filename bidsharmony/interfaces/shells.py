"""Average the shells of a series as it is written, and show them with their directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bidsharmony.interfaces.compare import write_pictures
from bidsharmony.interfaces.files import read_gradients
from bidsharmony.interfaces.volumes import load_mask
from bidsharmony.numerics.gradients import Shell, shells


def weighted_shells(bvals: np.ndarray, b0_ixs: Sequence[int]) -> list[Shell]:
    """Group a series into its b=0 volumes, first, and its shells.

    Examples
    --------
    >>> [shell.ixs.tolist() for shell in weighted_shells(np.array([5.0, 1000, 990, 0]), [0, 3])]
    [[0, 3], [1, 2]]
    """
    bvals, b0_ixs = np.array(bvals, np.float64), np.array(b0_ixs, int)
    b0 = Shell(float(bvals[b0_ixs].mean()), b0_ixs)
    bvals[b0_ixs] = 0
    return [b0, *shells(bvals, b0_threshold=0.0)]


class ShellMeans:
    """Add up the volumes of each shell while they pass on their way to a file."""

    def __init__(self, bvals: np.ndarray, b0_ixs: Sequence[int]) -> None:
        self.shells = weighted_shells(bvals, b0_ixs)
        self._place = {int(ix): n for n, shell in enumerate(self.shells) for ix in shell.ixs}
        self._sums: list[np.ndarray | None] = [None] * len(self.shells)

    def watch(self, volumes: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass volumes on as they are; what is not finite counts as 0."""
        for ix, volume in enumerate(volumes):
            finite, place = volume, self._place[ix]
            if not np.isfinite(volume).all():
                finite = np.nan_to_num(volume, nan=0.0, posinf=0.0, neginf=0.0)
            if self._sums[place] is None:
                self._sums[place] = np.array(finite)
            else:
                self._sums[place] += finite
            yield volume

    def means(self) -> np.ndarray:
        """Return the mean of each shell, (I, J, K, shells), when all volumes have passed."""
        pairs = zip(self._sums, self.shells, strict=True)
        return np.stack([total / len(shell.ixs) for total, shell in pairs], axis=-1)


class _ShowSeriesInput(BaseInterfaceInputSpec):
    shells_file = File(exists=True, mandatory=True, desc='mean of b=0 and each shell, 4-D')
    mask_file = File(exists=True, mandatory=True, desc='brain on that grid')
    bval_file = File(exists=True, mandatory=True, desc='b-values, s/mm2')
    bvec_file = File(exists=True, mandatory=True, desc='b-vectors')
    b0_ixs = traits.List(traits.Int, mandatory=True, desc='positions of the b=0 volumes')


class _ShowSeriesOutput(TraitedSpec):
    figure_files = OutputMultiObject(File(exists=True), desc='PNG, named after what they show')


class ShowSeries(SimpleInterface):
    """Draw slices of each shell of the harmonized series, and where its gradients point."""

    input_spec = _ShowSeriesInput
    output_spec = _ShowSeriesOutput

    def _run_interface(self, runtime):
        from bidsharmony.numerics.directions import largest_gap, world_directions
        from bidsharmony.numerics.planes import audit_planes, axial_slices
        from bidsharmony.viz.figure import save_png
        from bidsharmony.viz.series import gradient_spheres, shell_mosaic

        image = nb.load(self.inputs.shells_file)
        mask = load_mask(self.inputs.mask_file)
        bvals, bvecs = read_gradients(self.inputs.bval_file, self.inputs.bvec_file)
        found = weighted_shells(bvals, self.inputs.b0_ixs)
        grid, cut_mask = audit_planes(mask, image.affine)
        means = np.asarray(image.dataobj, np.float32)
        figures = {}
        if grid:
            figures['shells'] = shell_mosaic(
                [axial_slices(means[..., n], image.affine, grid=grid) for n in range(len(found))],
                cut_mask,
                [(shell.b, len(shell.ixs)) for shell in found],
            )
        directions = world_directions(bvecs, image.affine)
        pointing = [(shell.b, directions[shell.ixs]) for shell in found[1:]]
        pointing = [(b, vectors[vectors.any(axis=1)]) for b, vectors in pointing]
        figures['gradients'] = gradient_spheres(
            [(b, vectors, largest_gap(vectors)) for b, vectors in pointing if len(vectors)]
        )
        pictures = {desc: save_png(figure) for desc, figure in figures.items()}
        self._results['figure_files'] = write_pictures(Path(runtime.cwd), pictures)
        return runtime
