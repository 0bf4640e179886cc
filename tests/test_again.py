"""What is made of a finished run without harmonizing it again, and what is left to look at."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from bidsharmony.reports import participant
from tests import tiny_dataset
from tests.test_end_to_end import bidsharmony, tree

pytestmark = pytest.mark.slow

LOOKING = ('--write-graph', '--resource-monitor', '--debug')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Harmonize one run, with all there is to look at."""
    folder = tmp_path_factory.mktemp('again')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    tiny_dataset.write_run(raw, 'sub-01')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    call = (raw, folder / 'out', 'participant', '--weights', weights)
    result = bidsharmony(*call, *LOOKING)
    assert result.returncode == 0, result.stderr
    return call


def test_images_have_the_label_that_was_asked_for(finished, tmp_path):
    """And the bytes they have under the usual one; where it changes, the old names go."""
    raw, out, *rest = finished
    other = tmp_path / 'out'
    assert bidsharmony(raw, other, *rest, '--output-desc', 'even').returncode == 0
    usual = {path.name: path for path in (out / 'sub-01' / 'dwi').iterdir()}
    labelled = {path.name: path for path in (other / 'sub-01' / 'dwi').iterdir()}
    suffixes = ('dwi', 'dwiref', 'trace', 'ADC')
    renamed = {
        name: name.replace('harmonized', 'even') if name.split('.')[0].endswith(suffixes) else name
        for name in usual
    }
    assert set(labelled) == set(renamed.values())
    assert len(set(labelled) - set(usual)) == 10
    for name, path in usual.items():
        if not name.endswith('.json'):
            assert labelled[renamed[name]].read_bytes() == path.read_bytes(), name
    assert bidsharmony(raw, other, *rest).returncode == 0
    assert {path.name for path in (other / 'sub-01' / 'dwi').iterdir()} == set(usual)


@pytest.fixture
def copied(finished, tmp_path):
    """Give the call on a copy of the output."""
    raw, out, *rest = finished
    return (raw, Path(shutil.copytree(out, tmp_path / 'out')), *rest)


def test_the_graph_is_there_to_look_at(finished):
    """As text: a picture needs Graphviz."""
    text = (finished[1] / 'logs' / 'sub-01_graph.dot').read_text()
    assert text.startswith('digraph')
    assert 'harmonize_wf' in text
    assert '->' in text


def test_every_step_has_its_time_and_memory(finished):
    """The table has the columns of its dictionary, and figures that can be true."""
    table = finished[1] / 'logs' / 'sub-01_resources.tsv'
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    assert list(rows[0]) == list(json.loads(table.with_suffix('.json').read_text()))
    steps = [row['step'] for row in rows]
    assert len(steps) == len(set(steps)) > 20
    assert any(step.endswith('harmonize_wf.network') for step in steps)
    network = next(row for row in rows if row['step'].endswith('harmonize_wf.network'))
    assert 0 < float(network['cpu_seconds']) < 60
    assert all(100 < float(row['memory_mb']) < 4000 for row in rows)


def test_debug_keeps_the_work_until_it_is_cleaned(copied):
    """Intermediate files stay after a success; the next call, which has nothing to do, sweeps."""
    out = copied[1]
    work = out / '.bidsharmony' / 'work' / 'sub-01'
    assert any(work.rglob('*.nii.gz'))
    result = bidsharmony(*copied, '--clean-workdir', '--debug')
    assert result.returncode == 0
    assert 'work folder: 1 participant cleaned' in result.stderr
    assert 'unchanged since the last run' in result.stderr
    assert not work.exists()


def test_a_page_is_written_anew_and_nothing_else(copied):
    """From what is marked: the same bytes, and the run is as done as it was."""
    before = tree(copied[1])
    (copied[1] / 'sub-01.html').unlink()
    result = bidsharmony(*copied, '--reports-only')
    assert (result.returncode, result.stdout) == (0, '1 page written in out\n')
    assert tree(copied[1]) == before
    assert 'unchanged since the last run' in bidsharmony(*copied).stderr


def test_a_new_page_is_marked(copied, monkeypatch):
    """One that looks different now does not make its run be harmonized again."""
    from bidsharmony.supervise.marker import marker_path, read_marker
    from bidsharmony.supervise.pages import rewrite_page

    out = copied[1]
    monkeypatch.setattr(participant, 'render', lambda *_, **__: 'a new page')
    rewrite_page(out, 'sub-01')
    assert (out / 'sub-01.html').read_text() == 'a new page'
    marked = read_marker(marker_path(out, 'sub-01'))['outputs']['sub-01.html']
    assert marked == hashlib.sha256(b'a new page').hexdigest()


def test_what_was_changed_is_no_page(copied):
    """A figure that is not the marked one is not shown; one line says what to do."""
    out = copied[1]
    next((out / 'sub-01' / 'figures').glob('*.png')).write_bytes(b'other')
    page = (out / 'sub-01.html').read_bytes()
    result = bidsharmony(*copied, '--reports-only')
    assert result.returncode == 1
    assert result.stderr == (
        'ERROR sub-01: what its page shows was changed or is gone. Run the participant level '
        'again\n'
    )
    assert (out / 'sub-01.html').read_bytes() == page


@pytest.mark.parametrize(
    ('label', 'said'),
    [
        ('02', 'ERROR out: no page to write, there are sub-01. Run the participant level first.'),
        (None, 'ERROR empty: no page to write, no participant is finished. Run the'),
    ],
)
def test_no_page_to_write_is_one_line(copied, label, said):
    """It names who is there."""
    raw, out, *rest = copied
    chosen = ['--participant-label', label] if label else []
    place = out if label else out.with_name('empty')
    result = bidsharmony(raw, place, *rest, '--reports-only', *chosen)
    assert result.returncode == 2
    assert result.stderr.startswith(said)
    assert result.stderr.count('\n') == 1


@pytest.mark.parametrize(
    'options', [[], ['--no-bias-correction', '--strength', '0.5', '--rician']]
)
def test_methods_are_told_before_anything_is_done(finished, tmp_path, options):
    """They are those of a run, but for what its gradients will tell."""
    raw, out, *rest = finished
    result = bidsharmony(raw, tmp_path / 'plan', *rest, '--boilerplate-only', *options)
    assert result.returncode == 0, result.stderr
    planned = (tmp_path / 'plan' / 'logs' / 'CITATION.md').read_text()
    assert result.stdout == planned
    assert {path.name for path in (tmp_path / 'plan').rglob('*')} - {'.failures.lock'} == {
        'logs', 'CITATION.md', 'CITATION.html', 'CITATION.bib',
    }  # fmt: skip
    if options:
        for text in ('No receive field was corrected', 'Harmonization went 0.5', 'Rician bias'):
            assert text in planned
    else:
        made = (out / 'logs' / 'CITATION.md').read_text()
        assert planned == made.replace(' (from a tensor fit)', '')
        assert planned != made
