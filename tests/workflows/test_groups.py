"""Runs that may be merged, or go through topup together, find each other; others do not."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bidsharmony.bids import DwiRun, Scanner
from bidsharmony.bids.names import parse_name
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.workflows.groups import find_sharing, shared_inputs


def checked(name: str, *, sidecar: dict | None = None, scanner: str = 'A', **changes):
    """Describe a run that was read, by the start of its name."""
    image = Path(f'/d/sub-01/dwi/{name}_dwi.nii.gz')
    run = DwiRun(
        image=image,
        bval=None,
        bvec=None,
        sidecar={'EchoTime': 0.08, 'RepetitionTime': 6.0} if sidecar is None else sidecar,
        sidecar_files=(),
        entities=parse_name(image.name).entities,
        scanner=Scanner(scanner),
    )
    whole = CheckedRun(
        run=run,
        shape=(96, 96, 50, 33),
        zooms=(2.0, 2.0, 2.5),
        affine=np.diag([2.0, 2.0, 2.5, 1.0]),
        orientation='RAS',
        slice_axis=2,
        b0_ixs=(0,),
        shells=((1000.0, 32),),
        inputs={run.relative: name, 'dwi.json': 'inherited'},
    )
    return replace(whole, **changes)


MOVED = np.array([[2.0, 0, 0, 5.0], [0, 2.0, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]])
TOGETHER = {
    'opposite directions': ('sub-01_dir-AP', 'sub-01_dir-PA', {}),
    'repeated': ('sub-01_run-1', 'sub-01_run-2', {}),
    'split shells': ('sub-01_acq-b1000', 'sub-01_acq-b3000', {'shells': ((3000.0, 60),)}),
    'one without label': ('sub-01', 'sub-01_run-2', {}),
    'echo times nearly alike': ('sub-01_run-1', 'sub-01_run-2', {'sidecar': {'EchoTime': 0.0808}}),
    'echo time not stated': ('sub-01_run-1', 'sub-01_run-2', {'sidecar': {}}),
    'echo time in ms': ('sub-01_run-1', 'sub-01_run-2', {'sidecar': {'EchoTime': 120}}),
    'moved': ('sub-01_run-1', 'sub-01_run-2', {'affine': MOVED}),
}
APART = {
    'session': ('sub-01_ses-a', 'sub-01_ses-b', {}),
    'reconstruction': ('sub-01_rec-norm', 'sub-01', {}),
    'part': ('sub-01_part-mag', 'sub-01_part-real', {}),
    'echo time': ('sub-01_run-1', 'sub-01_run-2', {'sidecar': {'EchoTime': 0.09}}),
    'repetition time': ('sub-01_run-1', 'sub-01_run-2', {'sidecar': {'RepetitionTime': 3.0}}),
    'matrix': ('sub-01_run-1', 'sub-01_run-2', {'shape': (128, 96, 50, 33)}),
    'zooms': ('sub-01_run-1', 'sub-01_run-2', {'zooms': (2.0, 2.0, 2.6)}),
    'slice axis': ('sub-01_run-1', 'sub-01_run-2', {'slice_axis': 0}),
    'scanner': ('sub-01_run-1', 'sub-01_run-2', {'scanner': 'B'}),
    'no series': ('sub-01_run-1', 'sub-01_run-2', {'no_series': 'why'}),
}


@pytest.mark.parametrize(('first', 'second', 'changes'), TOGETHER.values(), ids=TOGETHER)
def test_who_belongs_together(first, second, changes):
    """What one sidecar does not state, or states in no BIDS unit, is no difference."""
    found = find_sharing([checked(first), checked(second, **changes)])
    members = tuple(sorted((first, second)))
    assert {stem: (share.members, members[share.own]) for stem, share in found.items()} == {
        stem: (members, stem) for stem in members
    }


@pytest.mark.parametrize(('first', 'second', 'changes'), APART.values(), ids=APART)
def test_who_does_not(first, second, changes):
    """Series of another contrast or grid cannot be merged."""
    assert find_sharing([checked(first), checked(second, **changes)]) == {}


@pytest.mark.parametrize(
    ('second', 'affine', 'maps'),
    [
        ('sub-01_dir-PA', None, (0, 0)),
        ('sub-01_dir-PA', MOVED, (0, 1)),
        ('sub-01_dir-PA', np.diag([2.0, 2.0, 2.5001, 1.0]), (0, 0)),
    ],
)
def test_what_is_on_one_grid_shares_the_map(second, affine, maps):
    """Rounding of a header makes no other grid; another field of view has the level only."""
    runs = [checked('sub-01_dir-AP'), checked(second)]
    if affine is not None:
        runs[1] = replace(runs[1], affine=affine)
    assert find_sharing(runs)['sub-01_dir-AP'].maps == maps


def test_order_does_not_matter():
    """Not even where what is unknown fits two groups."""
    runs = [
        checked('sub-01_run-1', sidecar={'EchoTime': 0.07}),
        checked('sub-01_run-2', sidecar={'EchoTime': 0.09}),
        checked('sub-01_run-3', sidecar={}),
        checked('sub-01_dir-AP_run-1', sidecar={'EchoTime': 0.09}),
    ]
    found = [find_sharing(order) for order in permutations(runs)]
    assert all(other == found[0] for other in found)
    assert set(found[0]) == {run.run.stem for run in runs[1:]}


def test_inputs_hold_those_of_partners():
    """All members have the same, so that a partner that changes makes all of them run again."""
    first, second, alone = (
        checked(name) for name in ('sub-01_dir-AP', 'sub-01_dir-PA', 'sub-01_ses-b')
    )
    found = shared_inputs([first, second, alone])
    assert found['sub-01_dir-AP'] == found['sub-01_dir-PA'] == first.inputs | second.inputs
    assert found['sub-01_ses-b'] == alone.inputs
    assert shared_inputs([first, alone])['sub-01_dir-AP'] == first.inputs
