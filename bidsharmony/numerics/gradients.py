"""Read and check b-values and b-vectors, and group them into shells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

B0_THRESHOLD = 50.0
"""b-values up to this count as b=0 (s/mm2)."""

SHELL_TOLERANCE = 100.0
"""A b-value this near to the mean of a shell belongs to it (s/mm2)."""

B_CANONICAL = 1000.0
"""b-value of the canonical trace-weighted image (s/mm2)."""

B_SMALLEST_MAXIMUM = 5.0
"""A largest b-value under this is in ms/um2 (s/mm2)."""

B_LARGEST_MAXIMUM = 100_000.0
"""A largest b-value above this is in s/m2 (s/mm2)."""

NORM_TOLERANCE = 0.1
"""How far the length of a b-vector may be from 1."""

NO_DIRECTION = 1e-6
"""A b-vector shorter than this has no direction: the volume is a trace image."""

# float() also takes '1_000', other scripts' digits and 'infinity'.
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)', re.ASCII | re.I)


class GradientError(ValueError):
    """A gradient table that cannot be used; the message does not name the file."""


@dataclass(frozen=True)
class Shell:
    """Volumes of one diffusion weighting.

    Attributes
    ----------
    b : float
        Mean b-value, s/mm2.
    ixs : (n,) int
        Positions in the series.
    """

    b: float
    ixs: np.ndarray


@dataclass(frozen=True)
class GradientTable:
    """A gradient table that has been checked.

    Attributes
    ----------
    bvals : (N,) float64
        s/mm2.
    bvecs : (N, 3) float64
        As written, but zero where a b=0 volume had no finite one.
    b0_ixs, dwi_ixs : (n,) int
        Positions of the b=0 and of the diffusion-weighted volumes.
    n_directionless : int
        Diffusion-weighted volumes without a direction.
    notes : tuple of str
        What was assumed.
    """

    bvals: np.ndarray
    bvecs: np.ndarray
    b0_ixs: np.ndarray
    dwi_ixs: np.ndarray
    n_directionless: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_directionless(self) -> bool:
        """Tell whether no diffusion-weighted volume has a direction: trace images, no series."""
        return self.n_directionless == len(self.dwi_ixs)


def parse_bvals(text: str) -> np.ndarray:
    """Read the b-values of a ``.bval`` file, in one row or in one column.

    Parameters
    ----------
    text : str
        The file's content.

    Returns
    -------
    (N,) float64
        s/mm2.

    Raises
    ------
    GradientError
        Without numbers, with something that is no number, or with more than one row and column.

    Examples
    --------
    >>> parse_bvals('0 1000 2000').tolist()
    [0.0, 1000.0, 2000.0]
    """
    rows = _parse_rows(text, 'b-values')
    if len(rows) > 1 and any(len(row) > 1 for row in rows):
        raise GradientError(
            f'{len(rows)} rows of b-values, not one. Write one row, a number for each volume.'
        )
    return np.array([number for row in rows for number in row])


def parse_bvecs(text: str) -> np.ndarray:
    """Read the b-vectors of a ``.bvec`` file: three rows as FSL writes them, else three columns.

    Three rows of three numbers are FSL's three rows.

    Parameters
    ----------
    text : str
        The file's content.

    Returns
    -------
    (N, 3) float64

    Raises
    ------
    GradientError
        Without numbers, with something that is no number, or with another layout.

    Examples
    --------
    >>> parse_bvecs('0 1\\n0 0\\n0 0').tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    rows = _parse_rows(text, 'b-vectors')
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise GradientError(
            f'rows of {lengths[0]} and {lengths[-1]} numbers. '
            'Write three rows, a column for each volume.'
        )
    vectors = np.array(rows)
    if len(rows) == 3:
        return np.ascontiguousarray(vectors.T)
    if lengths[0] == 3:
        return vectors
    raise GradientError(
        f'{len(rows)} rows of {lengths[0]} numbers. Write three rows, a column for each volume.'
    )


def _parse_rows(text: str, what: str) -> list[list[float]]:
    """Read rows of numbers, leaving out empty lines."""
    rows = []
    for line in text.splitlines():
        words = line.split()
        for word in words:
            if not _NUMBER.fullmatch(word):
                raise GradientError(
                    f'{word[:20]!r} is not a number. Write numbers with a decimal point, '
                    'with blanks between them.'
                )
        if words:
            rows.append([float(word) for word in words])
    if not rows:
        raise GradientError(f'holds no {what}. Export it again.')
    return rows


def check_gradients(
    bvals: np.ndarray,
    bvecs: np.ndarray,
    n_volumes: int,
    *,
    b0_threshold: float = B0_THRESHOLD,
) -> GradientTable:
    """Refuse a gradient table that does not fit its series, and note what has to be assumed.

    Parameters
    ----------
    bvals : (N,) s/mm2
    bvecs : (N, 3)
    n_volumes : int
    b0_threshold : float
        s/mm2.

    Returns
    -------
    GradientTable

    Raises
    ------
    GradientError
        Where counts differ, numbers are not finite or have another unit, b=0 or
        diffusion-weighted volumes are missing, or b-vectors are not of unit length.

    Examples
    --------
    >>> table = check_gradients([0, 1000], [[0, 0, 0], [1, 0, 0]], 2)
    >>> table.b0_ixs.tolist(), table.dwi_ixs.tolist(), table.notes
    ([0], [1], ())
    """
    bvals, bvecs = np.array(bvals, np.float64), np.array(bvecs, np.float64)
    _check_counts(len(bvals), len(bvecs), n_volumes)
    _check_bvals(bvals, b0_threshold)
    _check_layout(bvals, bvecs, b0_threshold)
    b0_ixs = np.flatnonzero(bvals <= b0_threshold)
    dwi_ixs = np.flatnonzero(bvals > b0_threshold)
    notes = []
    above_zero = bvals[b0_ixs][bvals[b0_ixs] > 0]
    if above_zero.size:
        notes.append(
            f'{_volumes(above_zero.size)} with b up to {above_zero.max():g} s/mm2 '
            f'{_count(above_zero.size)} as b=0.'
        )
    wild = b0_ixs[~np.isfinite(bvecs[b0_ixs]).all(axis=1)]
    if wild.size:
        bvecs[wild] = 0
        notes.append(
            f'The b-vector of {_volumes(wild.size)} with b=0 is not a number; it is taken as 0.'
        )
    n_directionless = _check_bvecs(bvecs, dwi_ixs)
    if n_directionless:
        notes.append(
            f'{_volumes(n_directionless)} with b > {b0_threshold:g} s/mm2 and without a '
            f'direction {_count(n_directionless)} as trace images.'
        )
    return GradientTable(bvals, bvecs, b0_ixs, dwi_ixs, n_directionless, tuple(notes))


def are_all_b0(bvals: Sequence[float] | np.ndarray, *, b0_threshold: float = B0_THRESHOLD) -> bool:
    """Tell whether b-values are those of an image that holds b=0 volumes and nothing else.

    Zeros beside numbers under 5 are no such image: those may be ms/um2 (`B_SMALLEST_MAXIMUM`).

    Parameters
    ----------
    bvals : (N,) s/mm2
    b0_threshold : float
        s/mm2.

    Examples
    --------
    >>> are_all_b0([0, 0]), are_all_b0([1.25]), are_all_b0([0, 5]), are_all_b0([0, 1])
    (True, True, True, False)
    """
    bvals = np.asarray(bvals, np.float64)
    if not bvals.size or not ((bvals >= 0) & (bvals <= b0_threshold)).all():
        return False
    return bool(bvals.min() == bvals.max() or bvals.max() >= B_SMALLEST_MAXIMUM)


def _check_counts(n_bvals: int, n_bvecs: int, n_volumes: int) -> None:
    """Refuse tables that are longer or shorter than the series."""
    for count, what in ((n_bvals, 'b-value'), (n_bvecs, 'b-vector')):
        if count != n_volumes:
            raise GradientError(
                f'{count} {what}{"" if count == 1 else "s"} for {_volumes(n_volumes)}. '
                'Re-export the series with its gradient table.'
            )


def _check_bvals(bvals: np.ndarray, b0_threshold: float) -> None:
    """Refuse b-values that are no b-values in s/mm2, or all on one side of the threshold."""
    wrong = bvals[~(np.isfinite(bvals) & (bvals >= 0))]
    if wrong.size:
        raise GradientError(
            f'a b-value of {wrong[0]:g} is impossible. Re-export the series with its gradient '
            'table.'
        )
    largest = bvals.max(initial=0.0)
    if 0 < largest < B_SMALLEST_MAXIMUM or largest > B_LARGEST_MAXIMUM:
        raise GradientError(
            f'the largest b-value is {largest:g}, which is not in s/mm2. Write b-values in s/mm2.'
        )
    if not (bvals > b0_threshold).any():
        raise GradientError(
            f'no diffusion-weighted volume, every b-value is at most {b0_threshold:g} s/mm2. '
            'Give a diffusion series.'
        )
    if not (bvals <= b0_threshold).any():
        raise GradientError(
            f'no b=0 volume, the smallest b-value is {bvals.min():g} s/mm2. '
            'Add a b=0 volume or raise --b0-threshold.'
        )


def _check_layout(bvals: np.ndarray, bvecs: np.ndarray, b0_threshold: float) -> None:
    """Refuse nine numbers that were read as three rows where only three columns make sense."""
    if bvecs.shape != (3, 3):
        return
    weighted = bvals > b0_threshold

    def fits(vectors: np.ndarray) -> bool:
        """Tell whether weighted volumes have a direction, and the others none."""
        lengths = np.linalg.norm(np.clip(np.nan_to_num(vectors), -2, 2), axis=1)
        return bool((np.abs(lengths - weighted) <= NORM_TOLERANCE).all())

    if fits(bvecs.T) and not fits(bvecs):
        raise GradientError(
            'the b-vectors of 3 volumes fit their b-values only if each row is a volume. '
            'Write three rows, a column for each volume.'
        )


def _check_bvecs(bvecs: np.ndarray, dwi_ixs: np.ndarray) -> int:
    """Refuse directions that are not of unit length; count volumes that have none."""
    with np.errstate(over='ignore', invalid='ignore'):
        norms = np.linalg.norm(bvecs[dwi_ixs], axis=1)
        wrong = (norms > NO_DIRECTION) & (np.abs(norms - 1) > NORM_TOLERANCE)
    wrong |= ~np.isfinite(norms)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise GradientError(
            f'the b-vector of volume {dwi_ixs[first]} (from 0) has a length of {norms[first]:g}, '
            'not 1. Re-export the series with its gradient table.'
        )
    return int((norms <= NO_DIRECTION).sum())


def _volumes(count: int) -> str:
    """Name a number of volumes: ``1 volume``, ``2 volumes``."""
    return f'{count} volume' if count == 1 else f'{count} volumes'


def _count(count: int) -> str:
    """Conjugate: one volume counts, two count."""
    return 'counts' if count == 1 else 'count'


def shells(
    bvals: Sequence[float] | np.ndarray,
    *,
    b0_threshold: float = B0_THRESHOLD,
    tolerance: float = SHELL_TOLERANCE,
) -> list[Shell]:
    """Group the diffusion-weighted volumes into shells, lowest b first.

    From the lowest b-value up, each one joins the shell whose mean so far is within the
    tolerance, or begins the next.

    Parameters
    ----------
    bvals : (N,) s/mm2
    b0_threshold, tolerance : float
        s/mm2.

    Examples
    --------
    >>> [(shell.b, shell.ixs.tolist()) for shell in shells([0, 1990, 1000, 2010])]
    [(1000.0, [2]), (2000.0, [1, 3])]
    """
    bvals = np.asarray(bvals, np.float64)
    groups: list[list[int]] = []
    for ix in np.argsort(bvals, kind='stable'):
        if bvals[ix] <= b0_threshold:
            continue
        if groups and bvals[ix] - bvals[groups[-1]].mean() <= tolerance:
            groups[-1].append(int(ix))
        else:
            groups.append([int(ix)])
    return [Shell(float(bvals[group].mean()), np.array(sorted(group))) for group in groups]


def trace_shell(
    bvals: Sequence[float] | np.ndarray,
    *,
    b0_threshold: float = B0_THRESHOLD,
    tolerance: float = SHELL_TOLERANCE,
) -> Shell:
    """Choose the shell nearest b=1000 s/mm2, the lower one of two equally near.

    Raises
    ------
    GradientError
        Without a diffusion-weighted volume.

    Examples
    --------
    >>> trace_shell([0, 700, 2000, 1100]).b
    1100.0
    """
    found = shells(bvals, b0_threshold=b0_threshold, tolerance=tolerance)
    if not found:
        raise GradientError(
            f'no b-value is above {b0_threshold:g} s/mm2. Give a diffusion series.'
        )
    return min(found, key=lambda shell: abs(shell.b - B_CANONICAL))
