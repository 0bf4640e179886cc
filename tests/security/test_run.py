"""The whole command on private input, watched, without a network: what it leaves and whom it asks.

One run serves every test here: three participants of whom one crashes, both levels, links planted
in its output, every socket noted, in a namespace without a network where the system grants one.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import pytest

from tests import tiny_dataset
from tests.reports.pages import faults
from tests.security import planted
from tests.security.search import everything, held, unwrapped

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Python starts with it: the supervisor, the server that forks, and by that its children.
WATCH = """
    import os, sys
    import socket as _socket

    LOG = os.open(os.environ['SOCKETS_LOG'], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    ASKS = ('socket.getaddrinfo', 'socket.gethostbyname', 'socket.gethostbyaddr')
    TALKS = ('socket.connect', 'socket.bind', 'socket.sendto', 'socket.sendmsg')

    def note(line):
        os.write(LOG, f'{os.getpid()}\\t{line}\\n'.encode())

    def hook(event, arguments):
        if event in ASKS:
            note(f'asks\\t{event} {arguments!r}')
        elif event in TALKS:
            local = getattr(arguments[0], 'family', None) == _socket.AF_UNIX
            note(f'{"local" if local else "talks"}\\t{event} {arguments[1:]!r}')

    sys.addaudithook(hook)
    os.register_at_fork(after_in_child=lambda: note('seen\\tforked'))
    note('seen\\tstarted')
"""
# Its top is run in each child too, as that of every program that has children.
DRIVER = """
    import os, sys

    if __name__ == '__mp_main__':
        from bidsharmony.interfaces import qc

        whole = qc.MeasureRun._run_interface

        def failing(self, runtime):
            if self.inputs.run['subject'] == '03':
                places = f"{os.environ['HOME']}/file, {runtime.cwd}/in put.nii.gz"
                raise RuntimeError(f'cannot use {places}')
            return whole(self, runtime)

        qc.MeasureRun._run_interface = failing

    if __name__ == '__main__':
        from bidsharmony.cli.participant import main

        sys.exit(main())
"""
LINKS = (
    *('dataset_description.json', '.bidsignore', 'sub-01.html', 'group.html', 'group_runs.tsv'),
    *('group_batcheffects.json', 'logs/failures.tsv', 'logs/.failures.lock', 'logs/sub-01.log'),
    *('.bidsharmony/locks/sub-01.lock', '.bidsharmony/done/sub-01.json'),
    'sub-01/dwi/sub-01_desc-harmonized_dwi.nii.gz',
)
OURS = json.dumps({'GeneratedBy': [{'Name': 'bidsharmony'}]})


def isolated() -> list[str]:
    """Give what is put before a command to have neither network nor name, where it can be had."""
    name = f'import socket; socket.sethostname("{planted.word("host")}")'
    call = [shutil.which('unshare') or '', '--net', '--uts', sys.executable, '-c']
    try:
        tried = subprocess.run([*call, name], capture_output=True, timeout=60, check=False)
    except OSError:
        return []
    run = f'{name}; import os, sys; os.execvp(sys.argv[1], sys.argv[1:])'
    return [] if tried.returncode else [*call, run]


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """Run the command once; its folder, the output, what it said, and the log of sockets."""
    base = tmp_path_factory.mktemp('private')
    place = base / f'{planted.word("above")} with a blank'
    raw, out, helpers = place / 'bids', place / 'out', base / 'helpers'
    place.mkdir()
    planted.plant(raw)
    helpers.mkdir()
    for name, text in (('sitecustomize.py', WATCH), ('driver.py', DRIVER)):
        lines = text.splitlines()
        (helpers / name).write_text('\n'.join(line[4:] for line in lines) + '\n')
    folders = {what: base / planted.word(what) for what in planted.PLACES}
    for folder in folders.values():
        folder.mkdir()
    weights = tiny_dataset.write_weights(folders['weights'] / 'w.safetensors')
    outside = base / 'outside'
    outside.mkdir()
    for ix, name in enumerate(LINKS):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (outside / str(ix)).write_text(OURS)
        path.symlink_to(outside / str(ix))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.endswith('NO_ET')},
        'PYTHONPATH': os.pathsep.join([str(helpers), str(ROOT)]),
        'SOCKETS_LOG': str(base / 'sockets'),
        'HOME': str(folders['home']),
        'TMPDIR': str(folders['temporary']),
        'USER': planted.word('user'),
        'LOGNAME': planted.word('user'),
        'HOSTNAME': planted.word('host'),
    }
    command = [
        *(sys.executable, str(helpers / 'driver.py'), str(raw), str(out), 'participant', 'group'),
        *('--audit', 'quick', '--weights', str(weights), '--work-dir', str(folders['work'])),
        *('--nprocs', '2'),
    ]
    done = subprocess.run(
        [*isolated(), *command],
        env=environment,
        cwd=folders['temporary'],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return base, out, done, (base / 'sockets').read_text().splitlines()


@pytest.fixture(scope='module')
def contents(ran):
    """Read every file of the output, unwrapped."""
    return everything(ran[1])


def found(contents, places, *, but=()) -> list[tuple[str, str]]:
    """List (file, place) of the words that are somewhere they may not be."""
    names = {word: place for place, word in planted.words().items() if place in places}
    return [
        (file, names[word])
        for file, parts in contents.items()
        if not file.startswith(tuple(but))
        for part in parts
        for word in held(part, names, planted.START)
    ]


def test_it_went_as_it_was_meant_to(ran):
    """Two are done, one crashed and left a crash file, one was refused: else nothing is shown."""
    _, out, done, _ = ran
    assert done.returncode == 1, done.stderr
    assert '2 done, 1 refused, 1 failed' in done.stdout
    assert (out / 'sub-02.html').is_file()
    assert (out / 'group.html').is_file()
    assert list((out / 'logs').glob('crash-*'))
    assert (
        'lesion'
        in json.loads((out / 'sub-02/dwi/sub-02_desc-harmonized_qc.json').read_text())['lesions'][
            'masks'
        ][0]
    )


def test_every_word_is_in_the_input(ran):
    """A word that was not planted would be found nowhere, whatever the program does."""
    base, *_ = ran
    inputs = everything(base / f'{planted.word("above")} with a blank' / 'bids')
    places = set(planted.words()) - {*planted.PLACES}
    assert places - {place for _, place in found(inputs, places)} == set()
    assert len(planted.words()) >= 40


def test_who_when_and_where_is_nowhere(contents):
    """Not in images, tables, pages, pictures, logs, markers or crash files."""
    private = set(planted.words()) - {*planted.PLACES, *planted.NAMES}
    assert found(contents, private) == []


def test_names_that_are_not_bids_are_in_the_logs_alone(ran, contents):
    """The table of failures tells which file was refused; pages and markers do not."""
    assert found(contents, planted.NAMES, but=['logs/']) == []
    table = (ran[1] / 'logs' / 'failures.tsv').read_text()
    assert planted.word('refused name') in table
    assert 'not-BIDS-' in (ran[1] / 'sub-02.html').read_text()
    assert 'not-BIDS-' in (ran[1] / 'group.html').read_text()


def test_places_of_this_machine_are_in_the_logs_alone(contents):
    """No folder, user or host: not of the input, the output, the work, the home or the weights."""
    assert found(contents, planted.PLACES, but=['logs/']) == []
    told = [place for _, place in found(contents, planted.PLACES)]
    # what the logs do hold shows that the search finds what is there
    assert 'work' in told


def test_intermediate_files_name_nobody(ran):
    """What a crash leaves to be looked at names no person, date or serial number either."""
    base, *_ = ran
    left = everything(base / planted.word('work'))
    assert any('sub-03' in name for name in left)
    private = set(planted.words()) - {*planted.PLACES, *planted.NAMES}
    assert found(left, private) == []


def test_images_are_as_plain_as_they_can_be(ran):
    """No extension, no text in any header of the output."""
    for path in ran[1].rglob('*.nii.gz'):
        header = nb.load(path).header
        assert not header.extensions, path.name
        texts = [bytes(header[key]).strip(b'\0') for key in planted.HEADER]
        assert texts == [b''] * len(texts), path.name


def test_nothing_outside_is_written_through_a_link(ran):
    """Every link that was planted is a file now, and what it led to is as it was."""
    base, out, *_ = ran
    for ix, name in enumerate(LINKS):
        assert (base / 'outside' / str(ix)).read_text() == OURS, name
        assert not (out / name).is_symlink(), name


def test_no_socket_but_those_between_its_processes(ran):
    """Nobody is asked for an address, nothing is opened to another machine."""
    *_, log = ran
    lines = [line.split('\t') for line in log]
    # urllib3, which templateflow imports, looks in this way whether there is an IPv6
    probe = "socket.bind (('::1', 0),)"
    assert [line for line in lines if line[1] in ('asks', 'talks') and line[2] != probe] == []
    # the watch was there: supervisor, fork server and each child, and it saw local sockets
    assert len({pid for pid, kind, _ in lines if kind == 'seen'}) >= 5
    assert any(kind == 'local' for _, kind, _ in lines)


@pytest.mark.skipif(not isolated(), reason='this system grants no namespace without a network')
def test_it_needs_no_network(ran):
    """All of it came out in a namespace that has none."""
    _, _, done, _ = ran
    assert '2 done' in done.stdout


def test_the_work_folder_is_private(ran):
    """Whoever else uses the machine sees nothing of it, and cannot put anything there."""
    base, *_ = ran
    folders = [base / planted.word('work'), *(base / planted.word('work')).rglob('sub-*')]
    inside = [path for path in folders[1:] if path.is_dir() and path.name == 'sub-03']
    assert inside
    for folder in (inside[0], inside[0].parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder.name


@pytest.mark.parametrize('name', ['sub-01.html', 'sub-02.html', 'group.html'])
def test_pages_keep_their_promises(ran, name):
    """As those that tests/reports makes up."""
    page = (ran[1] / name).read_text()
    assert faults(page, ran[1]) == []


def test_tables_hold_no_broken_cell(ran):
    """As many cells in each row as in the first."""
    tables = [*ran[1].glob('group_*.tsv'), ran[1] / 'logs' / 'failures.tsv']
    assert len(tables) == 3
    for path in tables:
        counts = {line.count('\t') for line in path.read_text().splitlines()}
        assert len(counts) == 1, path.name


def test_the_search_sees_through_wrappings(tmp_path):
    """A word in a gzip, in a zip, in a picture that a page embeds: each is found."""
    import base64
    import gzip

    import numpy as np
    from PIL import Image, PngImagePlugin

    word = 'Zq47Hidden'
    np.savez_compressed(tmp_path / 'a.npz', text=np.frombuffer(word.encode(), np.uint8))
    told = PngImagePlugin.PngInfo()
    told.add_text('Comment', word, zip=True)
    Image.new('L', (4, 4)).save(tmp_path / 'b.png', pnginfo=told)
    code = base64.b64encode((tmp_path / 'b.png').read_bytes())
    (tmp_path / 'c.html').write_bytes(b'<img src="data:image/png;base64,' + code + b'">')
    (tmp_path / 'd.gz').write_bytes(gzip.compress(word.encode('utf-16-le')))
    (tmp_path / 'e').symlink_to(f'/nowhere/{word}')
    for name, parts in everything(tmp_path).items():
        assert any(held(part, [word]) for part in parts), name
    assert not [part for part in unwrapped(b'nothing') if held(part, [word])]
