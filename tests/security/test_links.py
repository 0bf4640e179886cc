"""What is written stays in the output, and what is read in the input: links, labels, names."""

import errno
import json
import os
import sys
import time
from pathlib import Path

import pytest

from bidsharmony.bids import collect_dwi
from bidsharmony.bids.names import NOT_REPEATED, public
from bidsharmony.cli.group import run_group
from bidsharmony.cli.logs import write_failures
from bidsharmony.cli.participant import main
from bidsharmony.settings import Settings
from bidsharmony.supervise import child, marker
from bidsharmony.supervise.child import _log_to
from bidsharmony.supervise.locks import locked
from bidsharmony.supervise.look import Look
from bidsharmony.supervise.reasons import judge
from bidsharmony.supervise.records import Job
from tests import tiny_dataset

FOLDERS = (
    *('logs', '.bidsharmony', '.bidsharmony/locks', '.bidsharmony/done', '.bidsharmony/staging'),
    *('.bidsharmony/work', '.bidsharmony/nipype', '.bidsharmony/matplotlib', 'qsiprep-compat'),
)
PARTICIPANT = ('sub-01', 'sub-01/dwi', 'sub-01/figures', 'qsiprep-compat/sub-01')
BAD_LABELS = ('../x', 'a/b', '.', '', 'a b', 'a"b', '01\n', 'é', 'a_b', '$(id)', '*')


def linked(out: Path, name: str) -> Path:
    """Plant a link in an output to a folder elsewhere, and give that folder."""
    elsewhere = out.parent / 'elsewhere'
    elsewhere.mkdir()
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).symlink_to(elsewhere)
    return elsewhere


def job_of(out: Path) -> Job:
    """Make a job that has nothing to do."""
    return Job('sub-01', (), (), (), Settings(bids_dir=out.parent / 'raw', output_dir=out), '1')


def marked(out: Path, outputs: list[str]) -> None:
    """Write the marker of a finished participant with these outputs."""
    content = {
        'participant': 'sub-01',
        'version': '1',
        'options': {},
        'inputs': {'sub-01': {}},
        'outputs': dict.fromkeys(outputs, '0'),
        'runs': ['sub-01'],
        'refused': [],
        'failed': [],
        'skipped': [],
    }
    marker.write_marker(marker.marker_path(out, 'sub-01'), content)


@pytest.mark.parametrize('level', ['participant', 'group'])
@pytest.mark.parametrize('name', FOLDERS)
def test_a_folder_of_the_programs_own_is_no_link(tmp_path, capsys, name, level):
    """Exit code 2, one line that names it, nothing where it leads."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    tiny_dataset.write_run(raw, 'sub-01')
    out = tmp_path / 'out'
    elsewhere = linked(out, name)
    assert main([str(raw), str(out), level]) == 2
    said = capsys.readouterr().err
    assert f'ERROR out/{name} is a link, and links in the output are not followed' in said
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize('name', PARTICIPANT)
def test_a_folder_of_a_participant_is_no_link(tmp_path, name):
    """The participant fails before any work; nothing is made, moved or removed where it leads."""
    out = tmp_path / 'out'
    elsewhere = linked(out, name)
    (elsewhere / 'sub-01_desc-harmonized_qc.json').write_text('mine')
    marked(out, [f'{name}/sub-01_desc-harmonized_qc.json'])
    with pytest.raises(OSError, match='a link in the output is not followed') as caught:
        child.work(job_of(out))
    assert caught.value.errno == errno.EPERM
    assert [path.name for path in elsewhere.iterdir()] == ['sub-01_desc-harmonized_qc.json']


def test_no_folder_is_made_behind_a_link(tmp_path):
    """It is refused before the folders below it are made."""
    out = tmp_path / 'out'
    elsewhere = linked(out, 'sub-01')
    with pytest.raises(OSError, match='leads elsewhere'):
        marker.final_place(out, 'sub-01/ses-a/dwi/sub-01_ses-a_dwi.bval')
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize('name', ['log', 'lock', 'failures', 'lock of failures'])
def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path, name):
    """What it led to keeps its bytes; what is written is a file of the output."""
    out, target = tmp_path / 'out', tmp_path / 'precious'
    target.write_text('precious')
    job = job_of(out)
    place = {
        'log': job.log_file,
        'lock': job.hidden / 'locks' / 'sub-01.lock',
        'failures': out / 'logs' / 'failures.tsv',
        'lock of failures': out / 'logs' / '.failures.lock',
    }[name]
    place.parent.mkdir(parents=True)
    place.symlink_to(target)
    if name == 'log':
        # in a process of its own: it takes over the standard streams
        pid = os.fork()
        if not pid:
            _log_to(place, 0)
            os.write(sys.stderr.fileno(), b'said')
            os._exit(0)
        os.waitpid(pid, 0)
    elif name == 'lock':
        with locked(job.settings.output_dir, job.participant):
            assert str(os.getpid()) in place.read_text()
    else:
        write_failures(out, [('a', 'failed', 'why')], among=['sub-01'])
    assert target.read_text() == 'precious'
    assert not place.is_symlink()
    assert (place.read_text() != '') is (name in ('log', 'failures'))


@pytest.mark.parametrize('ending', ['_graph.dot', '_graph.svg', '_resources.tsv'])
def test_what_is_left_to_look_at_follows_no_link(tmp_path, ending):
    """Nor does what nipype writes, which would."""
    start, target = tmp_path / 'logs' / 'sub-01', tmp_path / 'precious'
    start.parent.mkdir()
    target.write_text('precious')
    place = start.with_name(f'sub-01{ending}')
    place.symlink_to(target)

    class Workflow:
        base_dir = str(tmp_path)

        def write_graph(self, dot, **_):
            for path in (Path(dot), Path(dot).with_suffix('.svg')):
                path.write_text('a graph')

    look = Look(start, graph=True, resources=True)
    look.draw(Workflow())
    look.start()
    look.end('step', 0.0, 1.0)
    assert target.read_text() == 'precious'
    assert not place.is_symlink()
    assert place.read_text().startswith(('a graph', 'step\t'))


def test_what_a_cluster_took_is_not_made_up(tmp_path):
    """Its jobs' time and memory are not those of the process that waits for them."""
    look = Look(tmp_path / 'sub-01', resources=True, elsewhere=True)
    look.start()
    look.end('step', time.monotonic(), 2.0)
    table = (tmp_path / 'sub-01_resources.tsv').read_text().splitlines()
    assert table[1].split('\t') == ['step', '0.00', '2.00', 'n/a', 'n/a']


def test_a_table_of_failures_that_is_a_link_is_not_read(tmp_path):
    """Else lines of a file elsewhere would come out on the group page."""
    secret, out = tmp_path / 'secret', tmp_path / 'out'
    secret.write_text('x\ty\tz\nroot\trefused\tof another file\n')
    (out / 'logs').mkdir(parents=True)
    (out / 'logs' / 'failures.tsv').symlink_to(secret)
    from bidsharmony.evaluation.finished import read_runs

    assert list(read_runs(out)) == []
    (out / 'logs' / 'failures.tsv').unlink()
    (out / 'logs' / 'failures.tsv').write_text(secret.read_text())
    assert [item.name for item in read_runs(out)] == ['root']


@pytest.mark.parametrize('name', ['../precious', 'sub-01/../../precious', '/precious', ''])
def test_a_marker_that_names_files_outside_is_none(tmp_path, name):
    """What is out of date is removed by the names of the marker."""
    out = tmp_path / 'out'
    marked(out, ['sub-01/a'])
    path = marker.marker_path(out, 'sub-01')
    assert marker.read_marker(path) is not None
    marked(out, ['sub-01/a', name])
    assert marker.read_marker(path) is None


@pytest.mark.parametrize('label', BAD_LABELS)
@pytest.mark.parametrize('option', ['--participant-label', '--session-id', '--run-id'])
def test_labels_are_letters_and_digits(tmp_path, capsys, option, label):
    """On the command line: exit code 2 and one line."""
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), str(tmp_path / 'out'), 'participant', option, label])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert 'is not a label of letters and digits' in said
    assert said.count('\n') == 1


@pytest.mark.parametrize('label', [x for x in BAD_LABELS if '/' not in x and x not in ('.', '')])
def test_a_folder_with_another_label_makes_no_run(tmp_path, label):
    """Nothing is written under such a name."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    tiny_dataset.write_run(raw, 'sub-01')
    (raw / 'sub-01').rename(raw / f'sub-{label}')
    found = collect_dwi(raw)
    assert found.runs == ()
    assert found.refused + found.skipped
    for item in found.refused + found.skipped:
        name, reason = public(item.relative, item.reason)
        assert name.startswith('not-BIDS-')
        assert reason == NOT_REPEATED


@pytest.mark.parametrize(
    'text',
    [
        'cannot open /data/JANE DOE/out/sub-01/x.nii.gz',
        'cannot open /data/JANE DOE/raw/sub-01/dwi/x.nii.gz',
        "[Errno 2] No such file: '/data/JANE DOE/work/x'",
        'file:///data/JANE/x',
        'in /data/JANE DOE/out: no space',
        'cannot use /users/JANE DOE/.config/x or /users/JANE DOE',
    ],
)
def test_a_reason_names_no_folder(monkeypatch, text):
    """Not even one whose name holds a blank; the last part of a path stays."""
    monkeypatch.setenv('HOME', '/users/JANE DOE')
    base = Path('/data/JANE DOE')
    settings = Settings(
        bids_dir=base / 'raw', output_dir=base / 'out', work_dir=base / 'work', weights=base / 'w'
    )
    _, reason = judge(Job('sub-01', (), (), (), settings, '1'), text, None)
    assert 'JANE' not in reason
    assert 'DOE' not in reason


def test_group_tells_each_file_once_and_by_no_name_of_its_own(tmp_path, monkeypatch):
    """A name that is not BIDS comes from the marker and from the table of failures."""
    from bidsharmony.cli.group import _public
    from bidsharmony.evaluation.finished import Unused

    raw = 'sub-01/dwi/DOE^JANE.nii.gz'
    items = [Unused(*public(raw, 'x')), Unused(raw, 'x'), Unused('sub-02', 'not finished')]
    found = list(_public(items))
    assert [item.name for item in found] == [public(raw, 'x')[0], 'sub-02']
    assert 'DOE' not in json.dumps([[item.name, item.reason] for item in found])


def test_a_group_without_runs_writes_nothing_through_a_link(tmp_path):
    """Even where there is nothing to do."""
    out = tmp_path / 'out'
    elsewhere = linked(out, '.bidsharmony')
    settings = Settings(bids_dir=tmp_path, output_dir=out, analysis_levels=('group',))
    assert run_group(settings) == 2
    assert list(elsewhere.iterdir()) == []
