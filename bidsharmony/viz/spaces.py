"""Show how a scan lies in the space of a template."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from skimage.filters import threshold_otsu

from bidsharmony.viz.canvas import (
    HEADER,
    OUTLINE,
    brain_box,
    checked,
    header_strip,
    mark_sides,
    paint_grey,
    pick_slices,
    pixel_figure,
    tile,
    window_of,
)
from bidsharmony.viz.figure import AFTER_ON_BLACK, styled

N_COLUMNS = 3


@styled
def in_template(
    b0: np.ndarray, template: np.ndarray, brain: np.ndarray, *, title: str, n_slices: int = 6
) -> Figure:
    """Draw slices of a registered b=0 under two outlines of the template.

    The outer one is its brain; the inner one parts its bright from its dark tissue, where that
    threshold (Otsu's) parts them best.

    Parameters
    ----------
    b0, template : (n, H, W)
    brain : (n, H, W) float
        share of each pixel that is brain of the template
    title : str
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    b0, template, mask = checked(b0, template, brain >= 0.5)
    ixs, box = pick_slices(mask, n_slices), brain_box(mask)
    inside = template[mask]
    level = threshold_otsu(inside) if np.ptp(inside) > 0 else np.inf
    high = window_of('b0', b0, b0, mask)
    canvas, marked, inner = (
        tile(box.crop(slices[ixs]), N_COLUMNS)
        for slices in (b0, brain, np.where(mask, template > level, 0).astype(float))
    )
    figure, axes = pixel_figure(canvas.shape, header=HEADER)
    paint_grey(axes, canvas, 0, high)
    for lines, color, width in ((inner, AFTER_ON_BLACK, 0.5), (marked, OUTLINE, 0.9)):
        if (lines >= 0.5).any():
            axes.contour(lines, levels=[0.5], colors=color, linewidths=width)
    header_strip(figure, title, note=f'b = 0, 0 \u2013 {high:.2f}')
    mark_sides(axes, box.crop(b0).shape[1:])
    return figure
