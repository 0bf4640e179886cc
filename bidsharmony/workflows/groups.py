"""Find the runs that are to be merged, or to go through topup together: they share one scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids.names import output_stem
from bidsharmony.bids.sidecar import PLAUSIBLE, number
from bidsharmony.interfaces.inputs import ECHO_TOLERANCE, CheckedRun
from bidsharmony.numerics.grids import grid_distance

WITHIN = ('direction', 'run', 'acquisition')
"""Entities in which the runs of a group may differ."""

REPETITION_TOLERANCE = 0.01
"""Relative difference of repetition times that leaves the T1 weighting what it is."""

VOXEL_TOLERANCE = 1e-3
"""Difference of voxel sizes that rounding explains (mm)."""

GRID_TOLERANCE = 0.1
"""Corners of two grids that are nearer than this are the same place (mm)."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Say with whom a run shares its gain, and what of it.

    Parameters
    ----------
    members : tuple of str
        Stems of the whole group, sorted, the run's own among them.
    own : int
        Position of the run.
    maps : tuple of int
        Runs with the same number share gain map and bias field.
    gain_files, field_files, mask_files : tuple of Path
        What was predicted and found for each member, (I, J, K).
    """

    members: tuple[str, ...]
    own: int
    maps: tuple[int, ...]
    gain_files: tuple[Path, ...] = ()
    field_files: tuple[Path, ...] = ()
    mask_files: tuple[Path, ...] = ()


def find_sharing(checked: Iterable[CheckedRun]) -> dict[str, Sharing]:
    """Find for every run that has partners what it shares with them.

    Runs belong together if they make a series, differ in no entity but those of `WITHIN`, and have
    one scanner, matrix, voxel and slice axis and, where they are stated, one echo and one
    repetition time: series of different contrast are not merged. Their order does not matter.
    Those on one grid share the maps, whatever their phase encoding: on real pairs of opposite
    direction, two estimates differ more than distortion misplaces one (``docs/series.rst``).

    Parameters
    ----------
    checked : iterable of CheckedRun
        of one participant

    Returns
    -------
    dict
        stem to `Sharing`; a run without partners is not in it
    """
    series = sorted((run for run in checked if not run.no_series), key=_stem)
    found = {}
    for group in _cliques(series, _belong_together):
        if len(group) == 1:
            continue
        members = tuple(_stem(run) for run in group)
        parts = _cliques(group, _same_grid)
        maps = tuple(next(ix for ix, part in enumerate(parts) if run in part) for run in group)
        for own, stem in enumerate(members):
            found[stem] = Sharing(members=members, own=own, maps=maps)
    return found


def shared_inputs(checked: Sequence[CheckedRun]) -> dict[str, dict[str, str]]:
    """List what each run is made from: its own files and its partners', with their sha256."""
    own = {_stem(run): run.inputs for run in checked}
    found = find_sharing(checked)
    return {
        stem: {
            name: sha
            for member in (found[stem].members if stem in found else (stem,))
            for name, sha in own[member].items()
        }
        for stem in own
    }


def differ_within(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Tell whether two names say runs that may be merged: all entities alike but a few.

    Examples
    --------
    >>> first = {'subject': '01', 'session': 'a', 'direction': 'AP'}
    >>> differ_within(first, first | {'direction': 'PA', 'run': '2'})
    True
    >>> differ_within(first, first | {'session': 'b'})
    False
    """
    kept = [
        {key: label for key, label in entities.items() if key not in WITHIN}
        for entities in (first, second)
    ]
    return kept[0] == kept[1]


def _belong_together(first: CheckedRun, second: CheckedRun) -> bool:
    """Tell whether two series can be merged."""
    return (
        differ_within(first.run.entities, second.run.entities)
        and first.run.scanner == second.run.scanner
        and first.shape[:3] == second.shape[:3]
        and first.slice_axis == second.slice_axis
        and all(
            abs(a - b) <= VOXEL_TOLERANCE for a, b in zip(first.zooms, second.zooms, strict=True)
        )
        and _alike(first, second, 'EchoTime', lambda _: ECHO_TOLERANCE)
        and _alike(first, second, 'RepetitionTime', lambda time: REPETITION_TOLERANCE * time)
    )


def _alike(
    first: CheckedRun, second: CheckedRun, key: str, tolerance: Callable[[float], float]
) -> bool:
    """Compare a time of two sidecars (s); one that is not stated is no hindrance."""
    low, high = PLAUSIBLE[key]
    times = [number(run.run.sidecar.get(key)) for run in (first, second)]
    if any(time is None or not low <= time <= high for time in times):
        return True
    return abs(times[0] - times[1]) <= tolerance(max(times))


def _same_grid(first: CheckedRun, second: CheckedRun) -> bool:
    """Tell whether the voxels of two runs of a group are the same places."""
    distance = grid_distance(first.affine, second.affine, first.shape[:3])
    return distance <= GRID_TOLERANCE


def _stem(checked: CheckedRun) -> str:
    return output_stem(checked.run.image)


def _cliques(
    items: Sequence[CheckedRun], fit: Callable[[CheckedRun, CheckedRun], bool]
) -> list[list[CheckedRun]]:
    """Put each item into the first group all of whose members it fits, else into its own.

    What is not stated fits everything, so that to fit is not transitive.
    """
    groups: list[list[CheckedRun]] = []
    for item in items:
        home = next((group for group in groups if all(fit(item, one) for one in group)), None)
        if home is None:
            groups.append([item])
        else:
            home.append(item)
    return groups
