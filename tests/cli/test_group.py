"""`group` writes tables and a page from finished runs, or says in one line that there are none."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from bidsharmony.cli import progress
from bidsharmony.cli.group import run_group
from bidsharmony.cli.progress import Stages
from bidsharmony.settings import Settings
from tests.reports.pages import PAYLOADS, Page, faults
from tests.synthetic_runs import SCANNERS, mark_done, qc, study, write_run

WRITTEN = {
    'group.html',
    'group_batcheffects.json',
    'group_runs.tsv',
    'group_runs.json',
    'group_scanners.tsv',
    'group_scanners.json',
}


def group(out_dir, **options) -> int:
    """Run the group level on an output folder."""
    settings = Settings(bids_dir=out_dir.parent, output_dir=out_dir, analysis_levels=('group',))
    return run_group(replace(settings, **options))


def table(path) -> list[dict[str, str]]:
    """Read a BIDS table."""
    with path.open(newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))


def files(out_dir) -> dict[str, bytes]:
    """Files of the folder itself, with their content."""
    return {path.name: path.read_bytes() for path in out_dir.iterdir() if path.is_file()}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Eight runs on four scanners, one of them with a page, and one run that is not marked."""
    out_dir = study(tmp_path_factory.mktemp('derivatives'))
    (out_dir / 'sub-01.html').write_text('page')
    write_run(out_dir, qc('99', 'prisma'), 'prisma', figures=False, n_slices=2)
    assert group(out_dir) == 0
    return out_dir


def test_files_are_written(finished):
    """Two tables with their dictionaries, one page, no draft."""
    assert set(files(finished)) == WRITTEN | {'sub-01.html'}


@pytest.mark.parametrize(('name', 'n_rows'), [('group_runs', 8), ('group_scanners', 4)])
def test_tables_agree_with_their_dictionaries(finished, name, n_rows):
    """Each column is described, each cell is filled."""
    rows = table(finished / f'{name}.tsv')
    assert len(rows) == n_rows
    assert list(rows[0]) == list(json.loads((finished / f'{name}.json').read_text()))
    assert all(value not in ('', None) for row in rows for value in row.values())


def test_page_keeps_its_promises(finished):
    """Self-contained, no script, alt text, links that lead somewhere."""
    assert faults((finished / 'group.html').read_text(), finished) == []


def test_page_shows_what_a_reader_needs(finished):
    """Scanners, shares, how to read it, and what was left out."""
    page = Page((finished / 'group.html').read_text())
    for text in (
        '8 runs of 8 subjects on 4 scanners',
        'sub-99_dir-AP',
        'not marked as done',
        'How to read it',
        'dB from their mean before',
        'texture not compared: a scanner has fewer than 3 subjects',
        *(f'{maker} {model}' for maker, model, *_ in SCANNERS.values()),
    ):
        assert text in page.words, text
    assert len(page.all('img')) == 6
    assert 'sub-01.html' in [attrs['href'] for attrs in page.all('a')]


def test_again_gives_the_same_bytes(finished):
    """Nothing of the moment is in the files."""
    before = files(finished)
    assert group(finished) == 0
    assert files(finished) == before


def test_a_terminal_shows_how_far_it_is(finished, monkeypatch, capsys):
    """Stages in a table, which is gone at the end; the lines on stdout are the same."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert group(finished) == 0
    plain = capsys.readouterr().out
    before = files(finished)
    terminal = Terminal()
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setattr(progress, 'REDRAW', 0.0)
    assert group(finished) == 0
    shown = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', terminal.getvalue())
    for row in (
        r'runs +│ 8 runs read',
        r'audit +│ scanner probes',
        r'audit +│ outliers',
        r'page +│ page',
    ):
        assert re.search(f'│ {row}', shown), row
    assert '2 of 3 stages after 0:' in shown
    assert ' left' not in shown
    assert capsys.readouterr().out == plain
    assert files(finished) == before


def test_lines_on_training_stand_in_the_table(monkeypatch, capsys):
    """Where there is one; elsewhere they are lines of their own."""
    told = []
    Stages(None, ('audit',)).say('deep probe', 'epoch 1')
    assert capsys.readouterr().out == 'deep probe, epoch 1\n'
    table = progress.Board()
    table.look = lambda: told.append(table.working['audit'].name)
    stages = Stages(table, ('audit',))
    stages.begin('audit')
    stages.say('deep probe', 'epoch 1')
    assert told == ['audit', 'deep probe, epoch 1']
    # a file or a pipe has its lines all the same
    assert capsys.readouterr().out == 'deep probe, epoch 1\n'
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    stages.say('deep probe', 'epoch 2')
    assert told[-1] == 'deep probe, epoch 2'
    assert capsys.readouterr().out == ''


def test_the_page_is_written_anew_from_the_audit(finished, tmp_path, capsys):
    """The audit is not made again: what its file says stands on the page."""
    out_dir = shutil.copytree(finished, tmp_path / 'derivatives')
    before = files(out_dir)
    (out_dir / 'group.html').unlink()
    assert group(out_dir, reports_only=True) == 0
    assert files(out_dir) == before
    audit = out_dir / 'group_batcheffects.json'
    document = json.loads(audit.read_text())
    planted = {'what': 'everything', 'reason': 'planted in the file'}
    audit.write_text(json.dumps(document | {'not_run': [planted]}))
    assert group(out_dir, reports_only=True) == 0
    assert 'planted in the file' in (out_dir / 'group.html').read_text()


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (None, 'group_batcheffects.json: not there. Run the group level without --reports-only'),
        ('{"n_runs": 7}', 'group_batcheffects.json: of 7 runs, 8 are finished now. Run the group'),
        ('{', 'group_batcheffects.json: damaged. Run the group level'),
        ('[1]', 'group_batcheffects.json: damaged. Run the group level'),
    ],
)
def test_an_audit_of_other_runs_is_no_page(finished, tmp_path, capsys, content, said):
    """What is on the page fits the runs, or there is a line on what to do."""
    out_dir = shutil.copytree(finished, tmp_path / 'derivatives')
    audit = out_dir / 'group_batcheffects.json'
    audit.unlink()
    if content is not None:
        audit.write_text(content)
    page = (out_dir / 'group.html').read_bytes()
    assert group(out_dir, reports_only=True) == 2
    assert said in capsys.readouterr().err
    assert (out_dir / 'group.html').read_bytes() == page


@pytest.mark.parametrize('prepare', [lambda path: None, lambda path: path.mkdir()])
def test_nothing_to_do_is_one_line(tmp_path, capsys, prepare):
    """Exit code 2, a cause and a remedy, and nothing written."""
    out_dir = tmp_path / 'derivatives'
    prepare(out_dir)
    assert group(out_dir) == 2
    captured = capsys.readouterr()
    assert captured.err == (
        'ERROR derivatives: no finished run in it. Run the participant level first.\n'
    )
    assert captured.out == ''
    assert not out_dir.exists() or not files(out_dir)


def test_failure_older_than_the_marker_is_not_told(tmp_path, capsys):
    """A run is used or not used, not both."""
    write_run(
        tmp_path, qc('01', 'prisma', psd=None, glcm=None), 'prisma', figures=False, n_slices=2
    )
    mark_done(tmp_path, 'sub-01')
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / 'failures.tsv').write_text(
        'run\tstatus\treason\nsub-01/dwi/sub-01_dir-AP_desc-x_dwi.nii.gz\tfailed\tkilled\n'
    )
    assert group(tmp_path) == 0
    assert 'not used' not in capsys.readouterr().out


def test_home_need_not_be_writable(finished, repository):
    """Matplotlib keeps its cache in the output, and says nothing."""
    command = [sys.executable, '-m', 'bidsharmony.cli.participant', str(finished.parent)]
    known = {key: value for key, value in os.environ.items() if key != 'MPLCONFIGDIR'}
    run = subprocess.run(
        [*command, str(finished), 'group'],
        capture_output=True,
        text=True,
        env={**known, 'PYTHONPATH': str(repository), 'HOME': str(finished / 'group.html')},
    )
    assert (run.returncode, run.stderr) == (0, '')


def test_only_unmarked_runs_are_nothing_to_do(tmp_path):
    """A participant that is still running is not enough."""
    write_run(tmp_path, qc('01', 'prisma'), 'prisma', figures=False, n_slices=2)
    assert group(tmp_path) == 2
    assert files(tmp_path) == {}


@pytest.mark.parametrize('payload', PAYLOADS)
def test_planted_markup_comes_out_as_text(tmp_path, payload):
    """Scanner, run and reasons may hold anything; the table stays a table."""
    name = f'{payload}\t\n'
    document = qc('01', 'prisma', run='sub-01_x', psd=None, glcm=None)
    qc_file = write_run(tmp_path, document, 'prisma', figures=False, n_slices=2)
    document |= {'run': name, 'subject': name, 'session': name,
                 'scanner': dict.fromkeys(document['scanner'], name)}  # fmt: skip
    qc_file.write_text(json.dumps(document))
    mark_done(tmp_path, 'sub-01', refused=[[name, name]])
    assert group(tmp_path) == 0
    html = (tmp_path / 'group.html').read_text()
    assert faults(html, tmp_path) == []
    assert Page(html).words.count(' '.join(payload.split())) >= 3
    (row,) = table(tmp_path / 'group_runs.tsv')
    assert row['n_volumes'] == '33'


def test_runs_without_slices_and_charts_have_a_page(tmp_path):
    """One scanner, no spectra, no slices: tables only, and it says what was not computed."""
    document = qc('01', 'prisma', psd=None, glcm=None)
    qc_file = write_run(tmp_path, document, 'prisma', figures=False, n_slices=2)
    qc_file.with_name('sub-01_dir-AP_desc-audit_slices.npz').unlink()
    mark_done(tmp_path, 'sub-01')
    assert group(tmp_path) == 0
    page = Page((tmp_path / 'group.html').read_text())
    assert page.all('img') == []
    assert 'texture not compared: only one scanner' in page.words


def test_long_studies_are_cut_on_the_page_not_in_the_table(tmp_path, monkeypatch):
    """The page stays readable, and says where the rest is."""
    monkeypatch.setattr('bidsharmony.reports.group.MAX_LISTED', 3)
    for index in range(5):
        document = qc(f'{index}', 'prisma', psd=None, glcm=None)
        write_run(tmp_path, document, 'prisma', figures=False, n_slices=1)
        mark_done(tmp_path, f'sub-{index}')
    assert group(tmp_path) == 0
    assert len(table(tmp_path / 'group_runs.tsv')) == 5
    assert 'The first 3 of 5 runs' in Page((tmp_path / 'group.html').read_text()).words
