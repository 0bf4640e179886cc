"""A lesion mask applies to the runs whose entities it has, in whatever derivative it lies."""

from pathlib import Path

import pytest

from bidsharmony.bids import collect_dwi, collect_qsiprep
from tests.datasets import write_dataset

RUN = 'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_run-01_dwi.nii.gz'
OURS = {'GeneratedBy': [{'Name': 'bidsharmony'}]}
TRUTH = {'GeneratedBy': [{'Name': 'bidsharmony-phantom'}]}


def masks_of(run) -> list[str]:
    return [run.uri(path) for path in run.lesion_masks]


@pytest.mark.parametrize(
    ('mask', 'applies'),
    [
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_run-01_label-lesion_mask.nii.gz', True),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_run-1_label-lesion_desc-manual_mask.nii', True),
        ('x/sub-01/ses-a/anat/sub-01_ses-a_label-lesion_mask.nii.gz', True),
        ('x/sub-01/dwi/sub-01_res-2mm_label-lesion_mask.nii.gz', True),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_dir-PA_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_run-2_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-b/dwi/sub-01_ses-b_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_acq-x_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_space-ACPC_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_label-brain_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_desc-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.json', False),
        ('x/sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_probseg.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-02_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/sub-01_a b_label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/dwi/label-lesion_mask.nii.gz', False),
        ('x/sub-01/ses-a/perf/sub-01_ses-a_label-lesion_mask.nii.gz', False),
        ('x/y/sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.nii.gz', False),
        ('sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.nii.gz', False),
    ],
)
def test_which_masks_apply(tmp_path, mask, applies):
    """Label, description and resolution are the mask's own; the rest must be the run's."""
    (run,) = collect_dwi(write_dataset(tmp_path, {RUN: '', f'derivatives/{mask}': ''})).runs
    assert masks_of(run) == ([f'bids:raw:derivatives/{mask}'] if applies else [])
    assert [run.locate(path) for path in run.lesion_masks] == (
        [f'derivatives/{mask}'] if applies else []
    )
    assert run.notes == ()


def test_several_masks_and_several_runs(tmp_path):
    """A mask with fewer entities is for more runs; what bidsharmony made itself is for none."""
    other = RUN.replace('dir-AP', 'dir-PA')
    both = 'sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.nii.gz'
    one = 'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_label-lesion_mask.nii.gz'
    described = {
        'derivatives/harmonized/dataset_description.json': OURS,
        'derivatives/truth/dataset_description.json': TRUTH,
        'derivatives/broken/dataset_description.json': '{',
    }
    files = [f'harmonized/{both}', f'truth/{both}', f'broken/{one}', f'manual/{one}']
    root = write_dataset(
        tmp_path, {RUN: '', other: '', **described, **{f'derivatives/{f}': '' for f in files}}
    )
    first, second = collect_dwi(root).runs
    assert masks_of(first) == [f'bids:raw:derivatives/{f}' for f in (files[2], files[3], files[1])]
    assert masks_of(second) == [f'bids:raw:derivatives/{files[1]}']


@pytest.mark.parametrize(
    ('target', 'said'),
    [
        (Path('gone'), 'is a link to a file that is not there'),
        (Path('/dev/null'), 'is a link out of the dataset'),
    ],
)
def test_links_that_lead_nowhere_or_out_are_notes(tmp_path, target, said):
    """The run goes on without the mask, and says so."""
    name = 'derivatives/x/sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.nii.gz'
    (run,) = collect_dwi(write_dataset(tmp_path, {RUN: '', name: target})).runs
    assert run.lesion_masks == ()
    (note,) = run.notes
    assert note.startswith(f'{name} {said}')
    assert note.endswith('This lesion mask was left out.')


@pytest.mark.parametrize('inside', [False, True], ids=['beside', 'linked to below derivatives'])
def test_masks_of_preprocessed_runs(tmp_path, inside):
    """They are looked for in the preprocessed dataset and below the raw one, each once."""
    raw_run = 'sub-01/dwi/sub-01_dwi.nii.gz'
    there = 'sub-01/dwi/sub-01_space-ACPC_label-lesion_mask.nii.gz'
    qsiprep = write_dataset(
        tmp_path / 'qsiprep',
        {
            'sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.nii.gz': '',
            'sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.bval': '0 1000',
            'sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.bvec': '0 1\n0 0\n0 0',
            there: '',
        },
    )
    linked = {'derivatives/qsiprep': qsiprep} if inside else {}
    raw = write_dataset(tmp_path / 'raw', {raw_run: '', f'derivatives/m/{there}': '', **linked})
    (run,) = collect_qsiprep(qsiprep, raw).runs
    other = f'bids:raw:derivatives/m/{there}'
    assert masks_of(run) == [f'bids:qsiprep:{there}', other]
    assert [run.locate(path) for path in run.lesion_masks] == [there, other]
    assert not any('lesion' in note for note in run.notes)
    (raw_run,) = collect_dwi(raw).runs
    assert raw_run.lesion_masks == ()
