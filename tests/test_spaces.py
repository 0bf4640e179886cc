"""Images in a standard space: their names, what is in them, and that nobody is asked for them."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import collect_dwi
from bidsharmony.bids.templates import Template, find_templates
from bidsharmony.evaluation.lesions import dice
from bidsharmony.settings import Settings
from bidsharmony.supervise.child import check_runs
from bidsharmony.supervise.marker import outputs_of
from bidsharmony.supervise.needs import run_needs
from bidsharmony.supervise.pool import make_jobs
from bidsharmony.workflows.outputs import expected_endings, standard_names
from tests import templates, tiny_dataset
from tests.reports.pages import faults
from tests.validator import errors_of

ROOT = Path(__file__).resolve().parents[1]
STEM = 'sub-01_space-ACPC'
SPACE = 'Tiny:res-1'
START = 'sub-01_space-Tiny_res-1'

WITHOUT_NETWORK = """
import socket

def refuse(*arguments, **options):
    raise AssertionError(f'somebody is asked: {arguments}')

socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""
"""What every process of the command is given by Python at its start."""


def tree(folder: Path) -> dict[str, str]:
    """Hash what counts of an output."""
    outside = ('.bidsharmony/', 'logs/', 'dataset_description.json')
    names = {p.relative_to(folder).as_posix(): p for p in folder.rglob('*') if p.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith(outside)
    }


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """Write a run that is in a space of its own, a small TemplateFlow, and a HOME of no use."""
    folder = tmp_path_factory.mktemp('spaces')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    tiny_dataset.write_run(raw, STEM)
    tiny_dataset.write_weights(folder / 'w.safetensors')
    templates.write_template(folder / 'templates')
    (folder / 'site').mkdir()
    (folder / 'site' / 'sitecustomize.py').write_text(WITHOUT_NETWORK)
    # a file, and rights besides, since root may write into any folder
    (folder / 'home').touch()
    for path in (folder / 'templates').rglob('*'):
        path.chmod(0o555)
    return folder


NAMES = [
    'sub-01_from-dwi_to-Tiny_res-1_mode-image_xfm',
    'sub-01_space-Tiny_res-1_desc-brain_mask',
    'sub-01_space-Tiny_res-1_desc-harmonized_ADC',
    'sub-01_space-Tiny_res-1_desc-harmonized_dwiref',
    'sub-01_space-Tiny_res-1_desc-harmonized_trace',
    'sub-01_space-Tiny_res-1_desc-uncertainty_dwimap',
]
"""As other programs read them, each with a sidecar."""


def spaces_of(study: Path) -> tuple[Template, ...]:
    """Find the template of the space."""
    return find_templates([SPACE], study / 'templates')


def run(study: Path, out: str, *options: str) -> Path:
    """Run the command as a user would."""
    call = ('raw', out, 'participant', '--weights', 'w.safetensors', '--output-spaces', SPACE)
    done = subprocess.run(
        [sys.executable, '-m', 'bidsharmony.cli.participant', *call, *options],
        cwd=study,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join([str(study / 'site'), str(ROOT)]),
            'HOME': str(study / 'home'),
            'TEMPLATEFLOW_HOME': 'templates',
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return study / out


@pytest.fixture(scope='module')
def out(study):
    """Run it once."""
    before = {path: path.stat().st_mtime_ns for path in (study / 'templates').rglob('*')}
    made = run(study, 'out')
    after = {path: path.stat().st_mtime_ns for path in (study / 'templates').rglob('*')}
    # nothing was made, fetched or changed there
    assert after == before
    return made


def test_every_file_has_its_name(study, out):
    """Those of every run, and twelve in the space; the run's own space gives way to it."""
    mine = {f'{name}{extension}' for name in NAMES for extension in ('.nii.gz', '.json')}
    assert set(standard_names(STEM, spaces_of(study))) == mine
    expected = {f'{STEM}{ending}' for ending in expected_endings()} | mine
    assert {path.name for path in (out / 'sub-01' / 'dwi').iterdir()} == expected
    assert (out / 'sub-01' / 'figures' / f'{STEM}_desc-spaceTinyres1_dwi.png').is_file()


def volume(out: Path, ending: str) -> np.ndarray:
    """Read an image of the space, which is on the grid of the template."""
    image = nb.load(out / 'sub-01' / 'dwi' / f'{START}_{ending}.nii.gz')
    assert image.shape == templates.SHAPE
    assert np.allclose(image.affine, templates.grid())
    return np.asarray(image.dataobj)


def test_brain_and_values_are_where_the_template_has_them(out):
    """The brain lies on that of the template; b=0, trace and ADC are those of the scan."""
    tissue = templates.tissue_at(templates.SHAPE, templates.grid(), templates.MOVED)
    still = templates.tissue_at(templates.SHAPE, templates.grid())
    brain = volume(out, 'desc-brain_mask')
    assert brain.dtype == np.uint8
    assert dice(brain > 0, tissue > 0) > 0.93 > 0.88 > dice(still > 0, tissue > 0)
    adc = volume(out, 'desc-harmonized_ADC')
    assert not adc[brain == 0].any()
    for level, known in ((1, 0.8e-3), (2, 1.6e-3)):
        assert np.median(adc[(tissue == level) & (brain > 0)]) == pytest.approx(known, rel=0.1)
    b0, trace = (volume(out, f'desc-harmonized_{name}') for name in ('dwiref', 'trace'))
    inside = (brain > 0) & (adc > 0)
    assert np.allclose(trace[inside], (b0 * np.exp(-1000 * adc))[inside], rtol=1e-3)
    assert np.median(b0[tissue == 2]) > 1.2 * np.median(b0[tissue == 1])


def test_transform_is_what_was_applied(out):
    """ANTs reads the field, and moves the canonical b=0 to where ours is."""
    from bidsharmony.numerics.itk import as_ants, load_ants

    folder = out / 'sub-01' / 'dwi'
    source = nb.load(folder / f'{STEM}_desc-harmonized_dwiref.nii.gz')
    moved = load_ants().apply_transforms(
        as_ants(np.zeros(templates.SHAPE), templates.grid()),
        as_ants(np.asarray(source.dataobj), source.affine),
        [str(folder / 'sub-01_from-dwi_to-Tiny_res-1_mode-image_xfm.nii.gz')],
    )
    assert np.abs(moved.numpy() - volume(out, 'desc-harmonized_dwiref')).max() < 1e-4


def test_sidecars_tell_the_space(study, out):
    """By URIs that lead to files of the template."""
    image = 'bids:templateflow:tpl-Tiny/tpl-Tiny_res-01_T2w.nii.gz'
    described = json.loads((out / 'dataset_description.json').read_text())
    home = out / described['DatasetLinks']['templateflow']
    for ending in ('desc-harmonized_dwiref', 'desc-harmonized_ADC', 'desc-brain_mask'):
        sidecar = json.loads((out / 'sub-01' / 'dwi' / f'{START}_{ending}.json').read_text())
        assert sidecar['SpatialReference'] == image
        assert sidecar['SkullStripped'] is False
        assert sidecar['Resolution'] == 'Grid of tpl-Tiny/tpl-Tiny_res-01_T2w.nii.gz.'
        assert 'SliceThickness' not in sidecar
        for uri in sidecar['Sources'][-2:]:
            assert (home / uri.removeprefix('bids:templateflow:')).is_file()
    canonical = json.loads((out / 'sub-01/dwi' / f'{STEM}_desc-harmonized_ADC.json').read_text())
    assert canonical['SpatialReference'] != image


def test_figures_and_words_tell_it_too(out):
    """The qc file by its schema, the page with its picture, the methods with what they cite."""
    qc = json.loads((out / 'sub-01' / 'dwi' / f'{STEM}_desc-harmonized_qc.json').read_text())
    schema = json.loads(files('bidsharmony.data').joinpath('qc.schema.json').read_text())
    jsonschema.validate(qc, schema)
    assert [(space['space'], space['voxel_mm']) for space in qc['spaces']] == [(SPACE, [7.0] * 3)]
    assert qc['spaces'][0]['dice'] > 0.93
    assert qc['spaces'][0]['correlation'] > 0.5
    page = (out / 'sub-01.html').read_text()
    assert faults(page, out) == []
    assert 'Standard space' in page
    cited = (out / 'logs' / 'CITATION.md').read_text()
    assert 'brought to Tiny:res-1 of TemplateFlow [@templateflow2022]' in cited
    assert '@ants2011' in cited


def test_bytes_do_not_depend_on_threads_or_folders(study, out):
    """Made again elsewhere, all is the same."""
    again = run(study, 'again', '--omp-nthreads', '2', '--nprocs', '2', '-w', 'scratch')
    assert tree(again) == tree(out)


def test_second_call_runs_nothing(study, out):
    """The marker vouches for what is in the space too."""
    marker = json.loads((out / '.bidsharmony' / 'done' / 'sub-01.json').read_text())
    mine = outputs_of(marker, [STEM])
    assert marker['runs'] == [STEM]
    assert {f'sub-01/dwi/{name}' for name in standard_names(STEM, spaces_of(study))} < set(mine)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')}
    run(study, 'out')
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')} == before


@pytest.mark.parametrize(
    ('stems', 'spaces', 'refused'),
    [
        (
            ('sub-01_space-ACPC', 'sub-01_space-T1w'),
            ['Tiny'],
            {'sub-01_space-T1w': 'have the names'},
        ),
        (('sub-01_space-ACPC', 'sub-01_space-T1w'), [], {}),
        (('sub-01_space-Tiny',), ['Tiny'], {'sub-01_space-Tiny': 'is in this space already'}),
        (('sub-01_dir-AP', 'sub-01_dir-PA'), ['Tiny'], {}),
    ],
    ids=str,
)
def test_no_two_files_have_one_name(tmp_path, stems, spaces, refused):
    """Runs that differ in nothing but their space cannot both be brought to another one."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    for seed, stem in enumerate(stems):
        tiny_dataset.write_run(raw, stem, seed=seed)
    settings = Settings(bids_dir=raw, output_dir=tmp_path, output_spaces=tuple(spaces))
    (job,) = make_jobs(settings, collect_dwi(raw))
    checked, outcomes = check_runs(job)
    told = {Path(name).name.removesuffix('_dwi.nii.gz'): o for name, o in outcomes.items()}
    assert set(told) == set(refused)
    assert all(words in told[stem].reason for stem, words in refused.items())
    assert len(checked) == len(stems) - len(refused)


def test_templates_count_among_the_needs(tmp_path):
    """A finer grid takes more memory and more of the disk."""
    templates.write_template(tmp_path)
    settings = Settings(bids_dir=tmp_path, output_dir=tmp_path, templateflow_home=tmp_path)
    none = run_needs((24, 24, 12, 7), (8, 8, 8), settings)
    tiny = run_needs((24, 24, 12, 7), (8, 8, 8), replace(settings, output_spaces=('Tiny',)))
    assert tiny.memory >= none.memory + 350
    assert tiny.output > none.output
    assert tiny.work > none.work


def test_validator_finds_no_error(out):
    """The output is a BIDS derivative."""
    assert errors_of(out) == []
