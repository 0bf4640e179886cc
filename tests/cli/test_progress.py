"""A table where there is a terminal, the same plain lines as ever where there is none."""

import contextlib
import io
import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bidsharmony.cli import progress
from bidsharmony.cli.places import places_written
from bidsharmony.cli.progress import Board, LiveTable, watching
from bidsharmony.supervise.records import Step

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
    import logging, sys, time
    from pathlib import Path
    from bidsharmony.bids import Collection, DwiRun, Scanner
    from bidsharmony.cli.progress import watching
    from bidsharmony.settings import Settings
    from bidsharmony.supervise import child, pool
    from bidsharmony.supervise.records import Outcome, Step

    def act(job, connection, lifeline, environment):
        child.detach(lifeline)
        for n_done in range(4):
            child.tell(connection, Step('brain mask', n_done, 4))
            time.sleep(0.4)
        connection.send([Outcome(run.relative, 'done') for run in job.runs])

    if __name__ == '__main__':
        child.main, pool.PRELOAD = act, ()
        logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s')
        runs = tuple(
            DwiRun(Path(f'/d/sub-{label}/dwi/sub-{label}_dwi.nii.gz'), None, None, {}, (),
                   {'subject': label}, Scanner())
            for label in ('a', 'b')
        )
        settings = Settings(bids_dir=Path('/d'), output_dir=Path(sys.argv[1]), nprocs=1)
        with watching(int(sys.argv[2])) as watch:
            pool.run_participants(settings, Collection(runs=runs), watch=watch)
        sys.stderr.write('the end\\n')
"""
PLAIN = [
    'INFO sub-a: started, 1 run(s)',
    'INFO sub-a/dwi/sub-a_dwi.nii.gz: done',
    'INFO sub-b: started, 1 run(s)',
    'INFO sub-b/dwi/sub-b_dwi.nii.gz: done',
    'the end',
]


@pytest.fixture
def command(tmp_path):
    """Give the call of a supervisor whose children report four steps each, and its environment."""
    script = tmp_path / 'driver.py'
    script.write_text(textwrap.dedent(DRIVER))
    (tmp_path / 'out').mkdir()
    path = f'{ROOT}{os.pathsep}{tmp_path}'
    environment = {**os.environ, 'PYTHONPATH': path, 'TERM': 'xterm', 'COLUMNS': '100'}
    return [sys.executable, str(script), str(tmp_path / 'out')], environment


def on_terminal(call: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; give its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    parts = []
    try:
        while select.select([ours], [], [], 120)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how a terminal ends that nobody has open any more
                break
            if not part:
                break
            parts.append(part)
        return process.wait(timeout=60), b''.join(parts).decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def without_escapes(text: str) -> str:
    """Take out what moves the cursor and colours."""
    return re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', text)


def test_terminal_shows_a_table(command):
    """Participant, step, how many of how many, what is left; the log's lines stay above it."""
    call, environment = command
    code, text = on_terminal([*call, '0'], environment)
    assert code == 0, text
    seen = without_escapes(text)
    assert re.search(r'sub-a +│ brain mask +│ [0-3] of 4 +│ +0:0\d', seen), seen
    assert '0 of 2 participants after 0:0' in seen
    assert re.search(r'1 of 2 participants after 0:0\d, about 0:0\d left', seen), seen
    lines = [line.strip() for line in re.split(r'[\r\n]+', seen)]
    assert [line for line in lines if line in PLAIN] == PLAIN
    # the cursor is shown again, and the table is gone before the end
    assert text.rfind('\x1b[?25h') > text.rfind('\x1b[?25l') >= 0
    assert '│' not in seen[seen.rfind('sub-b_dwi.nii.gz: done') :].split('the end')[1]


def test_no_color_takes_colours_only(command):
    """The table is there, without a sequence that colours."""
    call, environment = command
    _, coloured = on_terminal([*call, '0'], environment)
    code, text = on_terminal([*call, '0'], {**environment, 'NO_COLOR': '1'})
    assert code == 0, text
    assert 'brain mask' in text
    colour = r'\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38|48)(?:;\d+)*m'
    assert not re.search(colour, text)
    assert '\x1b[' in coloured


@pytest.mark.parametrize(
    ('more', 'verbose'), [({'TERM': 'dumb'}, '0'), ({}, '2')], ids=['dumb terminal', '-vv']
)
def test_some_terminals_have_plain_lines(command, more, verbose):
    """Those that cannot move the cursor, and whoever asks for the lines of libraries."""
    call, environment = command
    code, text = on_terminal([*call, verbose], {**environment, **more})
    assert code == 0, text
    assert text.splitlines() == PLAIN


def test_elsewhere_lines_are_plain(command):
    """No terminal: a file or a pipe holds the lines alone."""
    call, environment = command
    done = subprocess.run(
        [*call, '0'], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr.splitlines()) == (0, PLAIN)


class Terminal(io.StringIO):
    """Look like a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_rich_lines_are_plain(monkeypatch):
    """It is imported when it is used, and its lack ends nothing."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    with watching(0, Terminal()) as watch:
        assert watch is None


def test_log_goes_back_to_its_stream(monkeypatch):
    """After the block, and after an error in it."""
    monkeypatch.setenv('TERM', 'xterm')
    stream = Terminal()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.suppress(KeyboardInterrupt), watching(0, stream) as watch:
            assert isinstance(watch, LiveTable)
            assert handler.stream is not stream
            logging.getLogger().error('[red]as it is[/red] %s', 'x' * 300)
            raise KeyboardInterrupt
        assert handler.stream is stream
    finally:
        logging.getLogger().removeHandler(handler)
    assert f'[red]as it is[/red] {"x" * 300}\n' in without_escapes(stream.getvalue())


def board(times: list[float], runs: dict[str, int]) -> Board:
    """Make a board whose clock is the one cell of a list."""
    made = Board(lambda: times[0])
    made.planned(runs)
    return made


def test_time_left_is_that_of_runs_like_those_that_ended():
    """Two side by side, by runs; what was unchanged says nothing of those that have work."""
    now = [0.0]
    made = board(now, {'a': 1, 'b': 2, 'c': 4, 'd': 1})
    made.started('d')
    now[0] = 1.0
    made.ended('d')
    assert made.left() is None
    made.started('a')
    made.started('b')
    made.step('a', Step('x', 1, 4))
    now[0] = 11.0
    # a quarter took ten seconds: 40 s a run, of which 30 + 70 + 160 are left, on two processors
    assert made.left() == pytest.approx((30 + 70 + 160) / 2)
    now[0] = 21.0
    made.ended('a')
    # 20 s a run: b has had 20 of 40, c needs 80, one after the other
    assert made.left() == pytest.approx(100)
    made.started('c')
    assert made.left() == pytest.approx(80)
    now[0] = 500.0
    assert made.left() == 0


def test_a_step_without_a_name_ends_the_one_before():
    """Its name stays until the next."""
    made = board([0.0], {'a': 1})
    made.started('a')
    made.step('a', Step('x', 0, 4))
    made.step('a', Step('', 1, 4))
    assert (made.working['a'].name, made.working['a'].n_done) == ('x', 1)


def test_drawing_is_not_done_too_often(monkeypatch):
    """However many steps are told."""
    monkeypatch.setenv('TERM', 'xterm')
    with watching(0, Terminal()) as watch:
        now, drawn = [100.0], []
        watch.clock = lambda: now[0]
        monkeypatch.setattr(watch.live, 'update', lambda table, refresh: drawn.append(table))
        for _ in range(10):
            watch.look()
        now[0] += progress.REDRAW
        watch.look()
    assert len(drawn) == 2


def test_closing_lines_name_what_is_there(tmp_path):
    """Pages by name, many by pattern; what was not written is not named."""
    out = tmp_path / 'out'
    (out / 'logs').mkdir(parents=True)
    (out / 'logs' / 'failures.tsv').touch()
    (out / 'logs' / 'CITATION.md').touch()
    done = []
    for label in '12345':
        (out / f'sub-{label}' / 'dwi').mkdir(parents=True)
        (out / f'sub-{label}.html').write_text(json.dumps(label))
        done.append(f'sub-{label}/dwi/sub-{label}_dwi.nii.gz')
    few = places_written(out, done[:2], failed=False).splitlines()
    assert few == [
        'In out:',
        '  pages:        sub-1.html, sub-2.html',
        '  images:       sub-1/dwi, sub-2/dwi',
        '  methods:      logs/CITATION.md',
        '  logs:         logs',
    ]
    many = places_written(out, done, failed=True)
    assert '5 like sub-*.html' in many
    assert 'logs/failures.tsv' in many
    assert places_written(out, [], failed=True).splitlines() == [
        'In out:',
        '  failures:     logs/failures.tsv',
        '  logs:         logs',
    ]
