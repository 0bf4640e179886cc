"""Tissues of the head: relaxation, proton density, diffusivity and kurtosis, by field strength.

Sources
-------
.. [T2] Cox & Gowland, Magn Reson Med 2010;64:1440: T2 of frontal grey matter 87/76/47 ms,
   occipital grey matter 80/68/46 ms and white matter 80/71/47 ms at 1.5/3/7 T.
.. [T1] Stanisz et al., Magn Reson Med 2005;54:507 (1.5 and 3 T); Rooney et al., Magn Reson Med
   2007;57:308 (7 T, cerebrospinal fluid).
.. [CSF] Spijkerman et al., MAGMA 2018;31:415: T2 of cerebrospinal fluid falls to about 1 s at 7 T.
.. [MD] Helenius et al., AJNR 2002;23:194 (healthy adults, b=1000); Mills, J Phys Chem
   1973;77:685 (free water near body temperature).
.. [MK] Latt et al., J Magn Reson Imaging 2013;37:610 (regional kurtosis).
.. [PD] Tofts, Quantitative MRI of the Brain, Wiley 2003 (water content relative to pure water).

Values for iron-rich nuclei, blood and everything outside the brain are our own estimates: they
only have to be plausible surroundings, and training varies all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

B_MEASURED = 1000.0  # s/mm2, at which the diffusivities below were measured
FIELD_STRENGTHS = (1.5, 3.0, 7.0)  # T, the columns of every relaxation time below


@dataclass(frozen=True)
class Tissue:
    """One tissue's constants; see the module's sources.

    Attributes
    ----------
    name : str
    proton_density : float
        Relative to water.
    t1, t2 : tuple of float
        Seconds, at 1.5, 3 and 7 T.
    diffusivity : float
        Mean diffusivity as clinical studies measure it, apparent at b=1000 s/mm2, in mm2/s.
    kurtosis : float
        Mean kurtosis, dimensionless.
    anisotropy : float
        Fractional anisotropy of a typical voxel.
    brain : bool
        Whether a brain mask holds it.
    """

    name: str
    proton_density: float
    t1: tuple[float, float, float]
    t2: tuple[float, float, float]
    diffusivity: float
    kurtosis: float = 0.0
    anisotropy: float = 0.0
    brain: bool = False

    @property
    def initial_diffusivity(self) -> float:
        """Diffusivity D at b -> 0 that appears as `diffusivity` at b=1000, mm2/s.

        Kurtosis lowers what is measured: ``diffusivity = D - b D^2 K / 6``.

        Examples
        --------
        >>> d = TISSUES['white matter'].initial_diffusivity
        >>> round(d * 1e3, 4), round((d - 1000 * d**2 * 1.0 / 6) * 1e3, 4)
        (0.8091, 0.7)
        """
        bend = B_MEASURED * self.kurtosis / 6
        if bend == 0:
            return self.diffusivity
        return float((1 - np.sqrt(1 - 4 * bend * self.diffusivity)) / (2 * bend))

    def relaxation(self, field_strength: float) -> tuple[float, float]:
        """Interpolate T1 and T2 at a field strength between 1.5 and 7 T.

        Parameters
        ----------
        field_strength : float
            T; outside the table the nearest column is used.

        Returns
        -------
        t1, t2 : float
            Seconds.

        Examples
        --------
        >>> TISSUES['white matter'].relaxation(3.0)
        (1.084, 0.071)
        """
        return (
            float(np.interp(field_strength, FIELD_STRENGTHS, self.t1)),
            float(np.interp(field_strength, FIELD_STRENGTHS, self.t2)),
        )


_GREY_T1 = (1.124, 1.820, 2.132)
_WHITE_T1 = (0.884, 1.084, 1.220)
_WHITE_T2 = (0.080, 0.071, 0.047)

TISSUES: dict[str, Tissue] = {
    tissue.name: tissue
    for tissue in (
        Tissue('air', 0.0, (1.0,) * 3, (0.1,) * 3, 1e-3),
        Tissue('white matter', 0.70, _WHITE_T1, _WHITE_T2, 0.70e-3, 1.00, 0.45, brain=True),
        Tissue('cortex', 0.82, _GREY_T1, (0.087, 0.076, 0.047), 0.80e-3, 0.75, 0.12, brain=True),
        Tissue(
            'deep grey', 0.81, _GREY_T1, (0.080, 0.068, 0.046), 0.74e-3, 0.75, 0.18, brain=True
        ),
        Tissue(
            'thalamus',
            0.78,
            (1.05, 1.55, 1.85),
            (0.081, 0.070, 0.046),
            0.75e-3,
            0.90,
            0.30,
            brain=True,
        ),
        Tissue(
            'pallidum',
            0.75,
            (0.90, 1.15, 1.35),
            (0.066, 0.052, 0.030),
            0.76e-3,
            0.90,
            0.25,
            brain=True,
        ),
        Tissue(
            'cerebellar cortex',
            0.83,
            _GREY_T1,
            (0.086, 0.074, 0.047),
            0.72e-3,
            0.75,
            0.12,
            brain=True,
        ),
        Tissue(
            'brain stem', 0.73, _WHITE_T1, (0.082, 0.072, 0.048), 0.74e-3, 1.00, 0.45, brain=True
        ),
        Tissue('ventricle', 1.0, (4.3, 4.3, 4.3), (2.0, 2.0, 1.05), 3.0e-3, 0.0, 0.0, brain=True),
        Tissue('cerebrospinal fluid', 1.0, (4.3, 4.3, 4.3), (2.0, 2.0, 1.05), 2.8e-3, brain=True),
        # flow voids and dephasing leave little of blood on a spin-echo EPI
        Tissue('vessel', 0.20, (1.4, 1.6, 2.1), (0.25, 0.15, 0.05), 3.0e-3, brain=True),
        Tissue('eye', 1.0, (4.0, 4.0, 4.0), (0.9, 0.8, 0.6), 2.7e-3),
        # fat saturation leaves muscle and a residue of the scalp
        Tissue('soft tissue', 0.35, (1.0, 1.4, 1.8), (0.045, 0.038, 0.025), 1.5e-3, 0.3),
        Tissue('skin', 0.20, (1.0, 1.4, 1.8), (0.040, 0.035, 0.023), 1.3e-3, 0.3),
        Tissue('mucosa', 0.55, (1.0, 1.4, 1.8), (0.060, 0.055, 0.040), 1.6e-3, 0.3),
        Tissue('bone', 0.03, (0.4, 0.4, 0.4), (0.010, 0.010, 0.008), 0.8e-3),
        Tissue('marrow', 0.08, (0.4, 0.4, 0.4), (0.060, 0.055, 0.040), 0.6e-3),
    )
}
TISSUE_NAMES = tuple(TISSUES)
BRAIN_TISSUES = np.array([TISSUES[name].brain for name in TISSUE_NAMES])

# FreeSurfer's labels, and the extra-cerebral ones of SynthSeg's whole-head maps (500 and above)
_LABELS = {
    'air': (0,),
    'white matter': (2, 41, 7, 46, 25, 57, 85),
    'cortex': (3, 42, 17, 53, 18, 54),
    'deep grey': (11, 50, 12, 51, 26, 58),
    'thalamus': (10, 49, 28, 60),
    'pallidum': (13, 52),
    'cerebellar cortex': (8, 47),
    'brain stem': (16,),
    'ventricle': (4, 5, 43, 44, 14, 15, 72),
    'cerebrospinal fluid': (24, 530, 136, 137, 163, 164),
    'vessel': (30, 62, 502, 514),
    'eye': (506,),
    'soft tissue': (507, 508),
    'skin': (511,),
    'mucosa': (509,),
    'bone': (515,),
    'marrow': (516, 512),
}


def tissue_codes(labels: np.ndarray) -> np.ndarray:
    """Map a label volume to positions in `TISSUE_NAMES`.

    Parameters
    ----------
    labels : (I, J, K) int
        FreeSurfer labels with SynthSeg's extra-cerebral ones; an unknown label becomes air.

    Returns
    -------
    (I, J, K) uint8

    Examples
    --------
    >>> [TISSUE_NAMES[code] for code in tissue_codes(np.array([0, 41, 3, 24, 999]))]
    ['air', 'white matter', 'cortex', 'cerebrospinal fluid', 'air']
    """
    labels = np.asarray(labels).astype(int)
    table = np.zeros(max(int(labels.max(initial=0)), 600) + 1, np.uint8)
    for name, members in _LABELS.items():
        table[list(members)] = TISSUE_NAMES.index(name)
    return table[labels]
