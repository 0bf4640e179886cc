"""Every image of a dataset is a run, skipped or refused, with a reason that can be read."""

import json
from pathlib import Path

import pytest

from bidsharmony.bids import BIDSError, collect_dwi, list_participants
from tests.datasets import write_dataset

RUN = 'sub-01/dwi/sub-01_dwi.nii.gz'
GOOD = 'sub-02/dwi/sub-02_dwi.nii.gz'
DEEP = '{"a":' * 60 + '1' + '}' * 60


def relatives(items) -> list[str]:
    return [item.relative for item in items]


def test_inheritance_takes_the_nearest_and_merges_top_down(tmp_path):
    """The file with the most in common wins; the sidecar nearest the image has the last word."""
    image = 'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_dwi.nii.gz'
    root = write_dataset(
        tmp_path,
        {
            image: '',
            'dwi.json': {'EchoTime': 0.1, 'Manufacturer': 'Siemens'},
            'dir-PA_dwi.json': {'EchoTime': 9},
            'dir-AP_dwi.json': {'EchoTime': 0.09, 'RepetitionTime': 5},
            'T1w.json': {'EchoTime': 8},
            'sub-01/sub-01_dwi.json': {'RepetitionTime': 6},
            'sub-01/ses-a/sub-01_ses-a_dwi.bval': '0 1000',
            'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_dwi.json': {'FlipAngle': 90},
        },
    )
    (run,) = collect_dwi(root).runs
    assert run.sidecar == {
        'EchoTime': 0.09,
        'Manufacturer': 'Siemens',
        'RepetitionTime': 6,
        'FlipAngle': 90,
    }
    assert [path.relative_to(root).as_posix() for path in run.sidecar_files] == [
        'dwi.json',
        'dir-AP_dwi.json',
        'sub-01/sub-01_dwi.json',
        'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_dwi.json',
    ]
    assert run.bval == root / 'sub-01/ses-a/sub-01_ses-a_dwi.bval'
    assert run.bvec == root / 'dwi.bvec'
    assert (run.subject, run.session, run.relative) == ('01', 'a', image)
    assert run.entities == {'subject': '01', 'session': 'a', 'direction': 'AP'}
    assert run.stem == 'sub-01_ses-a_dir-AP'


@pytest.mark.parametrize(
    ('files', 'said'),
    [
        ({RUN: Path('nowhere')}, 'a link to a file that is not there'),
        ({RUN: Path('/dev/null')}, 'out of the dataset'),
        ({RUN: Path('sub-01_dwi.nii.gz')}, 'a link that leads nowhere'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.nii': ''}, 'both as .nii and as .nii.gz'),
        ({'sub-01/dwi/sub-01_dwi.nii.gz/x': ''}, 'not a regular file'),
        ({'sub-01/dwi/sub-01_dwi.NII.GZ': ''}, 'capitals'),
        ({'sub-01/dwi/sub-03_dwi.nii.gz': ''}, 'belongs in sub-03/dwi, not in sub-01/dwi'),
        ({'sub-01/ses-a/dwi/sub-01_dwi.nii.gz': ''}, 'belongs in sub-01/dwi'),
        ({'sub-01/dwi/sub-01_acq-é_dwi.nii.gz': ''}, "'acq-é'"),
        ({'sub-01/dwi/sub-01_acq-a_acq-b_dwi.nii.gz': ''}, 'acquisition twice'),
        ({'sub-01/dwi/sub-01_dwi_copy.nii.gz': ''}, "'dwi'"),
        ({'sub-é/dwi/sub-é_dwi.nii.gz': ''}, "'sub-é'"),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': '{"a": '}, 'not valid JSON (line 1'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': '[]'}, 'no JSON object'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': b'\xff{}'}, 'UTF-8'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': ' ' * 2**20 + '{}'}, 'larger than 1 MB'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': DEEP}, 'deeper than 50'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': '[' * 10**5}, 'deeper than 50'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': '1' * 5000}, 'too long'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.json': Path('/etc/hostname')}, 'out of the dataset'),
        ({RUN: '', 'sub-01/dwi/sub-01_dwi.bval': Path('gone')}, 'sub-01_dwi.bval is a link'),
        ({'sub-01': Path('gone')}, 'link to nothing'),
        ({'sub-01/dwi/sub-01_acq-a+b_dwi.nii.gz': ''}, "'acq-a+b'"),
        (
            {RUN: '', RUN.replace('_dwi', '_desc-preproc_dwi'): ''},
            'the same names as those of sub-01_',
        ),
    ],
)
def test_refused_alone(tmp_path, files, said):
    """What is wrong is named in one line, and the participant beside it is found all the same."""
    found = collect_dwi(write_dataset(tmp_path, {GOOD: '', **files}))
    assert relatives(found.runs) == [GOOD]
    assert found.refused
    assert all(said in item.reason for item in found.refused)
    assert all(
        '\n' not in item.reason and str(tmp_path) not in item.reason for item in found.refused
    )
    assert not found.skipped


@pytest.mark.parametrize(
    ('files', 'said'),
    [
        ({RUN: ''}, 'no .bval and no .bvec'),
        ({RUN: '', 'dwi.bval': '0 1'}, 'no .bvec file'),
        ({RUN: '', 'T1w.bval': '0 1', 'dwi.bvec': '0 1'}, 'no .bval file'),
        (
            {
                'sub-01/dwi/sub-01_acq-a_dir-b_dwi.nii': '',
                'dwi.bvec': '0 1',
                'acq-a_dwi.bval': '0 1',
                'dir-b_dwi.bval': '0 2',
            },
            'acq-a_dwi.bval and dir-b_dwi.bval apply to it equally',
        ),
    ],
)
def test_no_gradient_table(tmp_path, files, said):
    """A run needs one b-value file and one b-vector file."""
    (refused,) = collect_dwi(write_dataset(tmp_path, files, gradients=False)).refused
    assert said in refused.reason


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('sub-01_ADC.nii', 'apparent-diffusion'),
        ('sub-01_FA.nii.gz', 'anisotropy'),
        ('sub-01_trace.nii.gz', 'without gradient table'),
        ('sub-01_rec-TRACE_dwi.nii.gz', 'without gradient table'),
        ('sub-01_sbref.nii.gz', 'reference'),
        ('sub-01_desc-brain_mask.nii.gz', 'mask'),
        ('sub-01_part-phase_dwi.nii.gz', 'complex'),
        ('sub-01_desc-harmonized_dwi.nii.gz', 'already harmonized'),
        ('notes on this scan.nii.gz', 'not a run'),
    ],
)
def test_skipped_by_design(tmp_path, name, said):
    """What was never a run says so, and is nobody's failure."""
    found = collect_dwi(write_dataset(tmp_path, {f'sub-01/dwi/{name}': ''}, gradients=False))
    assert not found.runs
    assert not found.refused
    assert said in found.skipped[0].reason


TRACE = 'sub-01/dwi/sub-01_acq-x_rec-TRACE_dwi.nii.gz'
PLAIN = 'sub-01/dwi/sub-01_acq-x_trace.nii.gz'
B0, SERIES = '0\n', '0 1000 1000\n'


def pairable(tmp_path, images: dict[str, str | None], **selection):
    """Write images of one participant, each with these b-values beside it, and collect them."""
    files = {}
    for image, bvals in images.items():
        files[image] = ''
        if bvals is not None:
            files[image.replace('.nii.gz', '.bval')] = bvals
        if bvals == SERIES:
            files[image.replace('.nii.gz', '.bvec')] = '0 1 0\n0 0 1\n0 0 0\n'
    return collect_dwi(write_dataset(tmp_path, files, gradients=False), **selection)


@pytest.mark.parametrize('trace', [TRACE, PLAIN])
@pytest.mark.parametrize(
    ('others', 'sources', 'said'),
    [
        ({'sub-01_acq-x_dwi': B0}, ['sub-01_acq-x_dwi'], 'no diffusion weighting'),
        ({'sub-01_dwi': '1.25\n'}, ['sub-01_dwi'], 'no diffusion weighting'),
        ({'sub-01_acq-b_dwi': SERIES}, ['sub-01_acq-b_dwi'], None),
        # the same acquisition, then the same run and direction, then b=0 alone, come first
        (
            {'sub-01_acq-a_dwi': SERIES, 'sub-01_acq-b_dwi': B0, 'sub-01_acq-x_run-1_dwi': B0},
            ['sub-01_acq-x_run-1_dwi', 'sub-01_acq-b_dwi', 'sub-01_acq-a_dwi'],
            'no diffusion weighting',
        ),
        ({'sub-01_acq-x_dwi': SERIES}, None, 'sub-01_acq-x_dwi.nii.gz of the same acquisition'),
        ({'sub-01_acq-x_desc-a_dwi': SERIES}, None, 'of the same acquisition covers it'),
        ({'sub-01_acq-x_sbref': None}, None, 'its session has no b=0'),
        ({'sub-01_acq-x_part-phase_dwi': B0}, None, 'its session has no b=0'),
    ],
)
def test_trace_image_without_gradients(tmp_path, trace, others, sources, said):
    """It is a run with the images that may hold its b=0, or skipped with the reason."""
    images = {f'sub-01/dwi/{stem}.nii.gz': bvals for stem, bvals in others.items()}
    found = pairable(tmp_path, {trace: None, **images})
    assert not found.refused
    runs = {run.relative: run for run in found.runs}
    assert (trace in runs) == (sources is not None)
    if sources:
        run = runs[trace]
        assert (run.bval, run.bvec) == (None, None)
        assert [path.image.name for path in run.b0_sources] == [f'{s}.nii.gz' for s in sources]
    assert said is None or said in ' '.join(item.reason for item in found.skipped)


def test_trace_image_is_paired_in_its_session_whatever_is_selected(tmp_path):
    """A b=0 of another session is none; one that a filter leaves out is."""
    images = {
        f'sub-01/ses-{ses}/dwi/sub-01_ses-{ses}_{rest}.nii.gz': bvals
        for ses, rest, bvals in (
            ('a', 'acq-x_dwi', SERIES), ('a', 'acq-y_trace', None), ('b', 'acq-y_trace', None),
            ('a', 'acq-x_trace', None),
        )
    }  # fmt: skip
    found = pairable(tmp_path, images)
    assert [run.image.name for run in found.runs] == [
        'sub-01_ses-a_acq-x_dwi.nii.gz',
        'sub-01_ses-a_acq-y_trace.nii.gz',
    ]
    assert 'its session has no b=0' in found.skipped[-1].reason
    # asked for alone, the trace image of a series is not covered by it
    found = collect_dwi(tmp_path, session_id=['a'], filters={'suffix': 'trace'})
    assert [run.image.name for run in found.runs] == [
        'sub-01_ses-a_acq-x_trace.nii.gz',
        'sub-01_ses-a_acq-y_trace.nii.gz',
    ]


def test_trace_image_that_is_not_there_is_refused(tmp_path):
    """A link to nothing is a fault, not a kind of image."""
    write_dataset(tmp_path, {PLAIN: Path('gone'), RUN: '', 'sub-01/dwi/sub-01_dwi.bval': B0})
    (refused,) = collect_dwi(tmp_path).refused
    assert (refused.relative, 'a link to a file' in refused.reason) == (PLAIN, True)


@pytest.mark.parametrize(
    ('bvals', 'threshold', 'kind'),
    [
        ('0 0\n', 50.0, 'skipped'),
        ('5\n', 50.0, 'skipped'),
        ('60\n', 50.0, 'runs'),
        ('60\n', 70.0, 'skipped'),
        ('0 1\n', 50.0, 'runs'),  # perhaps ms/um2: judged with the image
        ('nonsense\n', 50.0, 'runs'),
    ],
)
def test_reverse_phase_encoding_b0_is_no_failure(tmp_path, bvals, threshold, kind):
    """A b=0 image beside a series has nothing to harmonize, with b-vectors or without."""
    reverse = 'sub-01/dwi/sub-01_dir-PA_dwi'
    forward = 'sub-01/dwi/sub-01_dir-AP_dwi.nii.gz'
    files = {forward: '', f'{reverse}.nii.gz': '', f'{reverse}.bval': bvals}
    found = collect_dwi(write_dataset(tmp_path, files), b0_threshold=threshold)
    assert forward in relatives(found.runs)
    assert f'{reverse}.nii.gz' in relatives(getattr(found, kind))
    assert not found.refused


def test_magnitude_of_a_complex_series_is_a_run(tmp_path):
    """Its phase is not, and both phase-encoding directions are."""
    names = [
        f'sub-01_dir-{pe}_part-{part}_dwi' for pe in ('AP', 'PA') for part in ('mag', 'phase')
    ]
    found = collect_dwi(write_dataset(tmp_path, {f'sub-01/dwi/{n}.nii.gz': '' for n in names}))
    assert [run.stem for run in found.runs] == ['sub-01_dir-AP_part-mag', 'sub-01_dir-PA_part-mag']
    assert len(found.skipped) == 2


def test_trace_with_its_own_gradients_is_a_run(tmp_path):
    """A trace image that comes with b-values is a series like another."""
    image = 'sub-01/dwi/sub-01_rec-trace_dwi.nii.gz'
    assert relatives(collect_dwi(write_dataset(tmp_path, {image: ''})).runs) == [image]


SESSIONS = {
    f'sub-0{sub}/ses-{ses}/dwi/sub-0{sub}_ses-{ses}_{rest}dwi.nii.gz': ''
    for sub in (1, 2)
    for ses in ('a', 'b')
    for rest in ('run-01_', 'run-2_', 'acq-x_')
}


@pytest.mark.parametrize(
    ('selection', 'count', 'example'),
    [
        ({}, 12, ''),
        ({'participant_label': ['02']}, 6, 'sub-02/ses-a/dwi/sub-02_ses-a_acq-x_dwi.nii.gz'),
        ({'session_id': ['b']}, 6, 'sub-01/ses-b/dwi/sub-01_ses-b_acq-x_dwi.nii.gz'),
        ({'run_id': ['1']}, 4, 'sub-01/ses-a/dwi/sub-01_ses-a_run-01_dwi.nii.gz'),
        ({'run_id': ['01', '02']}, 8, 'sub-01/ses-a/dwi/sub-01_ses-a_run-01_dwi.nii.gz'),
        ({'filters': {'acquisition': None}}, 8, 'sub-01/ses-a/dwi/sub-01_ses-a_run-01_dwi.nii.gz'),
        ({'filters': {'acquisition': '*'}}, 4, 'sub-01/ses-a/dwi/sub-01_ses-a_acq-x_dwi.nii.gz'),
        (
            {'filters': {'acquisition': 'x', 'session': ['b', 'c']}},
            2,
            'sub-01/ses-b/dwi/sub-01_ses-b_acq-x_dwi.nii.gz',
        ),
        ({'filters': {'suffix': 'dwi', 'datatype': 'dwi', 'run': [1, None]}}, 8, ''),
    ],
)
def test_selection(tmp_path, selection, count, example):
    """What is not selected is listed with the reason; other participants are not looked at."""
    found = collect_dwi(write_dataset(tmp_path, SESSIONS), **selection)
    assert len(found.runs) == count
    assert not example or found.runs[0].relative == example
    assert all(item.reason.startswith('not selected: ') for item in found.skipped)
    assert len(found.runs) + len(found.skipped) == (6 if 'participant_label' in selection else 12)


@pytest.mark.parametrize(
    ('selection', 'said'),
    [
        ({'participant_label': ['9']}, 'no participant 9 in the dataset. It has: 01, 02'),
        ({'session_id': ['a', 'z']}, 'no session z in the dataset. It has: a, b'),
        ({'run_id': ['7']}, 'no run 7 in the dataset. It has: 01, 2'),
    ],
)
def test_selection_that_matches_nothing(tmp_path, selection, said):
    """The answer lists what there is."""
    with pytest.raises(BIDSError) as caught:
        collect_dwi(write_dataset(tmp_path, SESSIONS), **selection)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ('description', 'said'),
    [(None, 'no dataset_description.json'), ('{', 'not valid JSON'), ('[1]', 'no JSON object')],
)
def test_no_dataset(tmp_path, description, said):
    """A folder that is no dataset is one error, not a search."""
    if description is not None:
        (tmp_path / 'dataset_description.json').write_text(description)
    with pytest.raises(BIDSError, match=said):
        collect_dwi(tmp_path)


@pytest.mark.parametrize('above', ['sub-99/anat', 'ses-x/dwi', 'derivatives/code'])
def test_folders_above_the_dataset_do_not_matter(tmp_path, above):
    """pybids reads entities off the absolute path; the runs do not."""
    root = write_dataset(tmp_path / above / 'raw', {RUN: ''})
    (run,) = collect_dwi(root).runs
    assert (run.relative, run.entities) == (RUN, {'subject': '01'})


def test_links_inside_the_dataset(tmp_path):
    """An annexed file is a run; a folder linked to its parent is not walked for ever."""
    root = write_dataset(
        tmp_path,
        {
            '.git/annex/objects/x': '',
            RUN: Path('../../.git/annex/objects/x'),
            'sub-01/loop': Path('..'),
            'sub-01/dwi/loop': Path('..'),
            # would make pybids read entities in its own way, or stop
            'sub-01/layout_config.json': '{',
        },
    )
    assert relatives(collect_dwi(root).runs) == [RUN]


def test_dataset_through_a_link(tmp_path):
    """The dataset itself may be a link; paths are those of the real place."""
    root = write_dataset(tmp_path / 'real', {RUN: ''})
    (tmp_path / 'link').symlink_to(root)
    (run,) = collect_dwi(tmp_path / 'link').runs
    assert run.image == root / RUN


def test_names_that_are_no_text(tmp_path):
    """A file name of arbitrary bytes stops neither pybids nor us."""
    root = write_dataset(tmp_path, {RUN: ''})
    name = b'sub-01_acq-\xff_dwi.nii.gz'
    with open(bytes(root / 'sub-01/dwi') + b'/' + name, 'wb'):
        pass
    found = collect_dwi(root)
    assert relatives(found.runs) == [RUN]
    assert len(found.refused) == 1


def test_list_participants(tmp_path):
    """Participants are folders, not files that are called like one."""
    write_dataset(tmp_path, {RUN: '', GOOD: '', 'sub-03': 'a file'})
    assert list_participants(tmp_path) == ('01', '02')


@pytest.mark.parametrize(
    ('dataset', 'n_runs', 'skipped'),
    [
        ('bids_examples/ds114', 20, 0),
        ('bids_examples/dwi_deriv', 1, 6),
        ('bids_examples/genetics_ukbb', 14, 0),
        ('bids_examples/eeg_matchingpennies', 0, 0),
        ('bids_multiscanner', 9, 0),
    ],
)
def test_real_datasets(shared_data, dataset, n_runs, skipped):
    """Layouts that others made are found in full."""
    found = collect_dwi(shared_data / dataset)
    assert (len(found.runs), len(found.skipped), len(found.refused)) == (n_runs, skipped, 0)


def test_ds114_inherits_from_the_root(shared_data):
    """Twenty runs share the one gradient table at the top."""
    root = shared_data / 'bids_examples' / 'ds114'
    found = collect_dwi(root)
    assert {(run.bval, run.bvec) for run in found.runs} == {
        (root.resolve() / 'dwi.bval', root.resolve() / 'dwi.bvec')
    }


def test_sidecars_with_numbers_that_are_none(tmp_path):
    """NaN and infinity, which some converters write, count as missing."""
    root = write_dataset(
        tmp_path, {RUN: '', 'dwi.json': '\ufeff{"EchoTime": NaN, "FlipAngle": 9}'}
    )
    (run,) = collect_dwi(root).runs
    assert run.sidecar == {'EchoTime': None, 'FlipAngle': 9}
    assert json.dumps(run.sidecar, allow_nan=False)
