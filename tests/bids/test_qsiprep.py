"""Series come from QSIPrep, what its sidecars lack from the raw dataset."""

import json
from pathlib import Path

import pytest

from bidsharmony.bids import BIDSError, collect_qsiprep
from bidsharmony.bids.qsiprep import recover
from tests.datasets import write_dataset

STEM = 'sub-01/ses-a/dwi/sub-01_ses-a'
SERIES = f'{STEM}_space-ACPC_desc-preproc_dwi'
FULL = {'Manufacturer': 'GE', 'MagneticFieldStrength': 1.5, 'EchoTime': 0.09, 'RepetitionTime': 8}
RAW = {f'{STEM}_dwi.nii.gz': '', f'{STEM}_dwi.json': FULL}


def both(tmp_path: Path, raw: dict, own: object, **more: object) -> tuple[Path, Path]:
    """Write QSIPrep's dataset, with one series of this sidecar, and the raw one."""
    table = {f'{SERIES}.bval': '0 1000', f'{SERIES}.bvec': '0 1\n0 0\n0 0'}
    files = {f'{SERIES}.nii.gz': '', f'{SERIES}.json': own, **table, **more}
    qsiprep = write_dataset(tmp_path / 'qsiprep', files, gradients=False)
    return qsiprep, write_dataset(tmp_path / 'raw', raw, gradients=False)


@pytest.mark.parametrize(
    ('own', 'raw', 'named'),
    [
        ({'Sources': [f'bids:raw:{STEM}_dwi.nii.gz']}, RAW, f'bids:raw:{STEM}_dwi.nii.gz'),
        ({'Sources': [f'bids::{STEM}_dwi.nii.gz']}, RAW, f'bids:raw:{STEM}_dwi.nii.gz'),
        (
            {'Sources': [f'bids:study:{STEM}_dir-x_dwi.nii.gz', 'bids:raw:sub-01/a_T1w.nii']},
            {f'{STEM}_dir-x_dwi.nii.gz': '', f'{STEM}_dir-x_dwi.json': FULL},
            f'bids:raw:{STEM}_dir-x_dwi.nii.gz',
        ),
        ({'Sources': f'bids:raw:{STEM}_dwi.nii.gz'}, RAW, f'bids:raw:{STEM}_dwi.nii.gz'),
        ({'Sources': ['bids:raw:../o/sub-01_dwi.nii']}, RAW, f'bids:raw:{STEM}_dwi.nii.gz'),
        ({}, RAW, f'bids:raw:{STEM}_dwi.nii.gz'),
        (
            {},
            {f'{STEM}_run-{i}_dwi.nii.gz': '' for i in (1, 2)} | {'dwi.json': FULL},
            f'bids:raw:{STEM}_run-1_dwi.nii.gz and bids:raw:{STEM}_run-2_dwi.nii.gz',
        ),
    ],
    ids=['uri', 'own uri', 'other name', 'no list', 'way out', 'entities', 'joined runs'],
)
def test_facts_are_found(tmp_path, own, raw, named):
    """Sources are followed first; else the raw run of the same entities, or those joined."""
    write_dataset(tmp_path / 'o', {'sub-01_dwi.nii': '', 'dwi.json': {'EchoTime': 0.2}})
    (run,) = collect_qsiprep(*both(tmp_path, raw, own)).runs
    assert {key: run.sidecar[key] for key in FULL} == FULL
    assert run.scanner.label == 'GE 1.5 T'
    assert any(note.startswith(f'Taken from the sidecar of {named}: ') for note in run.notes)
    assert run.uri(run.image) == f'bids:qsiprep:{SERIES}.nii.gz'
    assert run.locate(run.image) == run.relative == f'{SERIES}.nii.gz'
    assert run.locate(run.sidecar_files[-1]).startswith('bids:raw:')


def test_links_of_the_description_are_followed(tmp_path):
    """A raw dataset may lie elsewhere than where it is said to."""
    own = {'Sources': [f'bids:study:{STEM}_dwi.nii.gz']}
    description = {
        'Name': 'q',
        'DatasetLinks': {'study': '../the%20study', 'web': 'https://example.org'},
    }
    write_dataset(tmp_path / 'the study', RAW)
    qsiprep, raw = both(tmp_path, {}, own)
    (qsiprep / 'dataset_description.json').write_text(json.dumps(description))
    (run,) = collect_qsiprep(qsiprep, raw).runs
    assert run.sidecar['EchoTime'] == 0.09
    assert run.locate(run.sidecar_files[-1]) == f'bids:study:{STEM}_dwi.json'


@pytest.mark.parametrize(
    ('own', 'sources', 'echo_time', 'recovered', 'contradictory'),
    [
        ({'EchoTime': 0.1}, [FULL], 0.1, False, False),
        ({'EchoTime': 100}, [FULL], 0.09, True, False),
        ({'EchoTime': None}, [FULL, {}], 0.09, True, False),
        ({}, [FULL, {'EchoTime': 0.08}], None, False, True),
        ({'EchoTime': 100}, [{'EchoTime': 90}], 100, False, False),
    ],
    ids=['own wins', 'milliseconds', 'null', 'disagreement', 'both wrong'],
)
def test_what_wins(own, sources, echo_time, recovered, contradictory):
    """Own facts stay where they can be true; sources that disagree give none."""
    before = dict(own)
    sidecar, taken, disputed = recover(own, sources)
    assert sidecar.get('EchoTime') == echo_time
    assert ('EchoTime' in taken, 'EchoTime' in disputed) == (recovered, contradictory)
    assert own == before


def test_facts_of_the_old_grid_stay_behind(tmp_path):
    """The matrix and the slice times are those of an image that has been resampled."""
    raw = RAW | {f'{STEM}_dwi.json': FULL | {'BaseResolution': 96, 'SliceTiming': [0, 1]}}
    (run,) = collect_qsiprep(*both(tmp_path, raw, {})).runs
    assert not {'BaseResolution', 'SliceTiming'} & set(run.sidecar)


@pytest.mark.parametrize(
    ('raw', 'said'),
    [
        (RAW | {f'{STEM}_dwi.json': '{'}, 'was not used: '),
        ({}, 'no raw run was found'),
        ({f'{STEM}_run-1_dwi.nii': '', f'{STEM}_run-1_dwi.json': {}}, ''),
    ],
)
def test_without_a_usable_raw_sidecar(tmp_path, raw, said):
    """The run goes on with what it has, and says so."""
    (run,) = collect_qsiprep(*both(tmp_path, raw, {'EchoTime': 0.07})).runs
    assert run.sidecar == {'EchoTime': 0.07}
    assert said in ' '.join(run.notes)


@pytest.mark.parametrize(
    ('mask', 'said'),
    [('content', ''), (Path('gone'), 'a link to a file that'), (None, 'is not there. One was')],
)
def test_brain_mask(tmp_path, mask, said):
    """QSIPrep's mask is taken where it is a file of the dataset; else a note says why not."""
    name = f'{STEM}_space-ACPC_desc-brain_mask.nii.gz'
    found = collect_qsiprep(*both(tmp_path, RAW, {}, **({} if mask is None else {name: mask})))
    (run,) = found.runs
    assert (run.brain_mask is None) == bool(said)
    assert ('brain mask' in ' '.join(run.notes)) == bool(said)
    assert said in ' '.join(run.notes)
    assert run.mrtrix_table is None


def test_what_is_taken_and_what_is_not(tmp_path):
    """Only finished series in ACPC; participants that QSIPrep has not are named."""
    other = f'{STEM}_space-T1w_desc-preproc_dwi.nii.gz'
    bare = f'{STEM}_dwi.nii.gz'
    qsiprep, raw = both(
        tmp_path,
        RAW | {'sub-02/dwi/sub-02_dwi.nii.gz': ''},
        {},
        **{other: '', bare: '', f'{SERIES}.b': '0 0 0 0', f'{STEM}_dwiref.nii.gz': ''},
    )
    found = collect_qsiprep(qsiprep, raw)
    assert [run.relative for run in found.runs] == [f'{SERIES}.nii.gz']
    assert found.runs[0].mrtrix_table == qsiprep / f'{SERIES}.b'
    reasons = {item.relative: item.reason for item in found.skipped}
    assert not found.refused
    assert set(reasons) == {other, bare, f'{STEM}_dwiref.nii.gz', 'sub-02/dwi'}
    assert 'space-ACPC_desc-preproc' in reasons[other]
    assert reasons['sub-02/dwi'] == 'QSIPrep has no folder of this participant'


def test_selection_applies(tmp_path):
    """Labels and filters select among QSIPrep's series as among raw ones."""
    folders = both(tmp_path, RAW | {'sub-02/dwi/sub-02_dwi.nii.gz': ''}, {})
    assert not collect_qsiprep(*folders, participant_label=['01']).skipped
    assert not collect_qsiprep(*folders, filters={'direction': 'AP'}).runs
    with pytest.raises(BIDSError, match='no participant 02'):
        collect_qsiprep(*folders, participant_label=['02'])
    with pytest.raises(BIDSError, match='no session b'):
        collect_qsiprep(*folders, session_id=['b'])
