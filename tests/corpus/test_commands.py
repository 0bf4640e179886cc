"""The command beside a bad participant of each class: what it says, and what it leaves on disk."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bidsharmony.workflows.outputs import expected_endings
from tests import tiny_dataset
from tests.corpus.case import PROCESSED, REFUSED, SKIPPED
from tests.corpus.dataset import GOOD, Run, write_good
from tests.corpus.tables import CASES, TABLES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# One of each class, and two more that only a whole run shows to be harmless.
NAMES = (
    *('gz and file-crc-wrong', 'header-complex-numbers', 'geometry-left-and-right'),
    *('voxels-all-zero', 'gradients-no-b0', 'sidecar-very-deep', 'layout-accent'),
    *('security-bomb', 'multi-scanner-gauss', 'voxels-some-nan', 'voxels-one-slice'),
    'layout-reference',
)
CHOSEN = {f'{case.kind}-{case.name}': case for case in CASES}
BAD = {f'sub-{ix:02}': CHOSEN[name] for ix, name in enumerate(NAMES, start=2)}


def command(raw: Path, out: Path, weights: Path) -> subprocess.CompletedProcess:
    """Run the command as a user would."""
    return subprocess.run(
        [
            *(sys.executable, '-m', 'bidsharmony.cli.participant'),
            *(str(raw), str(out), 'participant', '--weights', str(weights), '--nprocs', '2'),
        ],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def tree(out: Path) -> dict[str, str]:
    """Hash everything in an output but logs and what is hidden."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob('*') if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not name.startswith(('.bidsharmony/', 'logs/'))
    }


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Run the good participant alone, and with all the others."""
    folder = tmp_path_factory.mktemp('commands')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    alone, together = write_good(folder / 'alone' / 'bids'), write_good(folder / 'all' / 'bids')
    images = {}
    for participant, case in BAD.items():
        run = Run.write(together, participant)
        images[participant] = case.change(run) or run.relative
    done = {}
    for raw in (alone, together):
        done[raw] = command(raw, raw.parent / 'out', weights)
    return done[alone], alone.parent / 'out', done[together], together.parent / 'out', images


def test_every_class_is_there():
    """A class that is added is run too."""
    assert {case.kind for case in BAD.values()} == {table.kind for table in TABLES}
    assert {case.outcome for case in BAD.values()} == {REFUSED, SKIPPED, PROCESSED}


def test_exit_codes(finished):
    """0 alone, 1 where some were refused; no traceback on the screen."""
    alone, _, together, *_ = finished
    assert alone.returncode == 0, alone.stderr
    assert together.returncode == 1, together.stderr
    assert 'Traceback' not in together.stdout + together.stderr


def test_the_good_participant_is_byte_identical(finished):
    """What is wrong beside it changes nothing."""
    _, out, _, beside, _ = finished
    mine = {name: sha for name, sha in tree(out).items() if name.startswith(GOOD)}
    theirs = {name: sha for name, sha in tree(beside).items() if name.startswith(GOOD)}
    assert len(mine) > len(expected_endings())
    assert theirs == mine


@pytest.mark.parametrize('participant', [p for p, case in BAD.items() if case.outcome == REFUSED])
def test_refused(finished, participant):
    """One line on the screen, one in the table of failures, nothing under a final name."""
    _, _, done, out, images = finished
    image, said = images[participant], BAD[participant].said.replace('sub-02', participant)
    (line,) = [line for line in done.stderr.splitlines() if f'{participant}/' in line]
    assert line.startswith(f'ERROR {image}: ')
    assert said in line
    assert re.search(r'[.:] [A-Z].*\.$', line)
    with (out / 'logs' / 'failures.tsv').open(encoding='utf-8') as file:
        rows = {row['run']: row for row in csv.DictReader(file, delimiter='\t')}
    assert rows[image]['status'] == REFUSED
    assert not [name for name in tree(out) if name.startswith(participant)]
    assert not (out / '.bidsharmony' / 'done' / f'{participant}.json').exists()


def test_failures_are_those_refused(finished):
    """Nothing failed in a way that the gate did not see."""
    _, _, _, out, images = finished
    with (out / 'logs' / 'failures.tsv').open(encoding='utf-8') as file:
        found = {(row['run'], row['status']) for row in csv.DictReader(file, delimiter='\t')}
    refused = {images[p] for p, case in BAD.items() if case.outcome == REFUSED}
    assert found == {(image, REFUSED) for image in refused}


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('voxels-some-nan', r'voxels of the b=0 volumes are not finite numbers and count as 0'),
        ('voxels-one-slice', r'One slice only: no bias field was estimated'),
        ('multi-scanner-gauss', r'MagneticFieldStrength is 15000 in the sidecar'),
    ],
)
def test_processed(finished, name, said):
    """Every file is there, and the qc file records what was assumed."""
    *_, out, _ = finished
    (participant,) = [p for p, case in BAD.items() if CHOSEN[name] is case]
    folder = out / participant / 'dwi'
    expected = {f'{participant}{ending}' for ending in expected_endings()}
    assert {path.name for path in folder.iterdir()} == expected
    qc = (folder / f'{participant}_desc-harmonized_qc.json').read_text(encoding='utf-8')
    assert json.loads(qc)
    assert re.search(said, qc)
