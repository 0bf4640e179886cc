"""Every command of the documentation works: run here, run elsewhere, or read by its own parser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import tiny_dataset
from tests.docs import stand_in
from tests.docs.commands import PAGES, ROOT, SHELLS, Block, blocks, blocks_of

BLOCKS = blocks()
TOOLS = ('bash', 'cat', 'dirname', 'grep', 'id', 'ls', 'mkdir', 'mktemp', 'rm', 'sed', 'sh')
"""What the blocks and scripts may use of the system, beside the programs that are stood in for."""


class Run(NamedTuple):
    """Run here as a reader would, with tiny data and tiny weights."""


class Elsewhere(NamedTuple):
    """Run by something else in the repository, whose text says so."""

    file: str
    text: str


class Parsed(NamedTuple):
    """Read only: by its own parser, with every folder and file that it names in its place."""

    reason: str


HOURS = Parsed('takes minutes to hours, and anatomies that are not in the repository')
ENGINE = Parsed('needs an engine that runs containers; the command line inside is read')
NEIGHBOUR = Parsed('another program, which is not installed with this one')
KINDS: dict[str, Run | Elsewhere | Parsed] = {
    r'bidsharmony /data/study /data/out participant --dry-run': Run(),
    r'bidsharmony /data/study /data/out participant group': Run(),
    r'bidsharmony /data/study /data/out participant --weights weights.safetensors': Elsewhere(
        'tests/test_end_to_end.py', "'participant', '--weights', weights"
    ),
    r'bidsharmony /data/study /data/out participant(| group) -d qsiprep=/data/qsiprep'
    r' --qsiprep-compat': Elsewhere('tests/test_chaining.py', "'--qsiprep-compat'"),
    r'bidsharmony /data/study /data/out participant --use-plugin slurm.yml --nprocs 10': Elsewhere(
        'tests/slurm/test_one_node.py', "'--use-plugin', plugin, '--nprocs', '3'"
    ),
    r'bidsharmony /data/study /data/out participant --participant-label 0[12] --work-dir \S+': (
        Elsewhere('tests/slurm/test_one_node.py', "SCRIPTS / 'submit.sh'")
    ),
    r'bidsharmony /data/study /data/out(| participant| group)': Elsewhere(
        'tests/test_end_to_end.py', "'participant'"
    ),
    r'bidsharmony /data/study /data/out group( --audit quick'
    r' --scanner-from participants.tsv:site)?': Elsewhere(
        'tests/audit/test_planted_study.py', 'scanner_from'
    ),
    r'bidsharmony-docker .*': Elsewhere('tests/cli/test_docker.py', 'main('),
    r'bidsharmony-phantom .*': Elsewhere('Makefile', 'bidsharmony-phantom demo/bids'),
    r'bidsharmony-train .*': HOURS,
    r'make demo( TORCH_INDEX=\S+)?': Elsewhere('.circleci/config.yml', 'make demo'),
    r'make docs': Elsewhere('.circleci/config.yml', 'make docs'),
    r'make lint': Elsewhere('.circleci/config.yml', 'make lint'),
    r'make test': Elsewhere('.ci/run', 'make test'),
    r'make env': Elsewhere('Makefile', 'demo: env'),
    r'make fuzz': Elsewhere('tests/corpus/test_fuzz.py', 'def test_'),
    r'make reproduce': Elsewhere('tests/test_reproduce.py', 'reproduce'),
    r'make faults( FAULTS=\S+ FAULTS_ARGS=--only kill)?': Elsewhere(
        'tests/faults/test_table.py', 'def test_'
    ),
    r'python -m tests\.corpus .*': Elsewhere('tests/corpus/test_corpus.py', 'corpus.csv'),
    r'python -m tests\.security .*': Parsed('runs tests that make test runs, and writes a table'),
    r'python (benchmarks|docs)/.*': HOURS,
    r'python -c from templateflow\.api import get; get\(.*\)': Elsewhere(
        'bidsharmony/bids/templates.py', 'from templateflow.api import get'
    ),
    r'pip install .*': Parsed('would change the environment of the tests'),
    r'pre-commit install': Parsed('would change the checkout'),
    r'(apptainer|docker) (build|run) .*': ENGINE,
    r'sbatch .*': Elsewhere('tests/slurm/test_one_node.py', "SCRIPTS / 'submit.sh'"),
    r'(dwi2tensor|mrconvert|qsiprep|qsirecon|tensor2metric) .*': NEIGHBOUR,
}
"""Pattern of a command, with the paths of the documentation: how it is known to work."""


class Shell:
    """A folder where a reader would be, and a PATH that holds stand-ins and next to nothing."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.data = folder / 'data'
        self.here = folder / 'checkout'
        self.calls = folder / 'calls'
        shutil.copytree(template, self.data)
        programs = folder / 'bin'
        programs.mkdir()
        module = f"'{sys.executable}' -m {stand_in.__name__}"
        for name in stand_in.PROGRAMS:
            (programs / name).write_text(f'#!/bin/sh\nexec {module} {name} "$@"\n')
            (programs / name).chmod(0o755)
        for name in TOOLS:
            (programs / name).symlink_to(shutil.which(name))
        self.here.mkdir()
        (self.here / '.venv').mkdir()
        (self.here / '.venv' / 'bin').symlink_to(programs)
        for name in ('Dockerfile', 'Singularity.def', 'benchmarks', 'setup.cfg'):
            (self.here / name).symlink_to(ROOT / name)
        for script in (ROOT / 'docs' / 'scripts').iterdir():
            shutil.copy(script, self.here)
        (self.here / 'bidsharmony.sif').touch()
        (self.here / 'participants.txt').write_text('01\n02\n')
        self.environment = {
            'DOCS_DATA': str(self.data),
            'DOCS_MAKE': shutil.which('make') or '',
            stand_in.LISTED: str(self.calls),
            'HOME': str(folder),
            'OMP_NUM_THREADS': '1',
            'NO_ET': '1',
            'NIPYPE_NO_ET': '1',
            'OUT': str(self.data / 'out'),
            'PATH': str(programs),
            'PYTHONPATH': str(ROOT),
            'STUDY': str(self.data / 'study'),
            'TMPDIR': str(folder),
        }

    def give(self, text: str, **environment: str) -> list[str]:
        """Run commands, and list the programs that were called as the documentation has them."""
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', re.sub(r'(?<![\w.])/data\b', str(self.data), text)],
            cwd=self.here,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f'{text}\n{done.stdout}{done.stderr}'
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture(scope='module')
def template(tmp_path_factory) -> Path:
    """Write what the documentation calls /data: a study, what QSIPrep made of it, weights."""
    data = tmp_path_factory.mktemp('docs') / 'data'
    raw = tiny_dataset.write_dataset(data / 'study')
    for seed, name in enumerate(('sub-01', 'sub-02')):
        tiny_dataset.write_run(raw, name, seed=seed)
    (raw / 'participants.tsv').write_text('participant_id\tsite\nsub-01\tA\nsub-02\tB\n')
    tiny_dataset.write_qsiprep(tiny_dataset.write_dataset(data / 'qsiprep'))
    tiny_dataset.write_weights(data / 'tiny.safetensors')
    return data


@pytest.fixture
def shell(tmp_path, template) -> Shell:
    """Give a fresh shell."""
    return Shell(tmp_path, template)


def kind_of(call: str) -> Run | Elsewhere | Parsed | None:
    """Say how a call is known to work; None if nobody has thought of it."""
    call = call.removeprefix('.venv/bin/')
    return next((kind for known, kind in KINDS.items() if re.fullmatch(known, call)), None)


@pytest.mark.parametrize('block', BLOCKS, ids=lambda block: block.name)
def test_a_reader_can_type_it(shell, block: Block):
    """Each line gets as far as it can here, and each program is known to be run somewhere."""
    if 'cd /data/out/sub-01/dwi' in block.text:
        write_outputs(shell.data / 'out' / 'sub-01' / 'dwi', 'sub-01_space-ACPC')
    calls = shell.give(block.text)
    assert calls, 'nothing was called'
    unknown = [call for call in calls if kind_of(call) is None]
    assert not unknown, f'{block.name}: add to KINDS how this is known to work: {unknown}'


def write_outputs(folder: Path, stem: str) -> None:
    """Leave the names of a finished run."""
    folder.mkdir(parents=True)
    example = 'sub-01/dwi/sub-01_dir-AP'
    for name in (ROOT / 'tests' / 'outputs.txt').read_text().splitlines():
        if name.startswith(example):
            (folder / f'{stem}{name.removeprefix(example)}').touch()


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('bidsharmony /data/study /data/out participant --no-such-option', 'no-such-option'),
        ('bidsharmony /data/other /data/out participant', 'no such folder'),
        ('docker run -u "$(id -u):$(id -g)" -v /data/out:/out bidsharmony /in /out group', 'out'),
        ('mkdir /data/out; docker run -u 4711:0 bidsharmony --version', 'another user'),
        ('apptainer run bidsharmony.sif --version', '--containall'),
        ('python benchmarks/quality.py', '--anatomy'),
        ('python benchmarks/none.py', 'no such script'),
        ('make nothing', 'the Makefile has none'),
        ('pip install -r requirements.txt', 'requirements.txt'),
        ('fslmaths a b', 'not found'),
    ],
)
def test_what_does_not_work_is_seen(shell, text, said):
    """The stand-ins refuse what a reader could not do."""
    with pytest.raises(AssertionError, match=said):
        shell.give(text)


def test_a_new_command_must_be_classified():
    """One that nobody has thought of has no kind."""
    assert kind_of('bidsharmony /data/study /data/out participant --rician') is None
    assert kind_of('make clean') is None


def test_what_is_run_elsewhere_is_run_there():
    """The file exists, and says so."""
    for pattern, kind in KINDS.items():
        if isinstance(kind, Elsewhere):
            text = (ROOT / kind.file).read_text(encoding='utf-8')
            assert kind.text in text, f'{pattern}: not in {kind.file}'


def test_blocks_are_of_known_languages():
    """No command hides in a block that is not looked at."""
    for path in PAGES:
        text, languages = path.read_text(encoding='utf-8'), []
        if path.suffix == '.md':
            assert not re.search(r'\n\n {4}\S', text), f'{path.name}: fence its blocks'
            languages = re.findall(r'^```(\S*)\n(?!\n)(?=[^`])', text, re.MULTILINE)
        elif path.suffix == '.rst':
            assert not re.search(r'::\n\n', re.sub(r'^ *\.\. .*', '', text, flags=re.MULTILINE))
            languages = re.findall(r'\.\. code-block:: *(\S*)', text)
            named = re.findall(r'\.\. (code|sourcecode|highlight|parsed-literal)::', text)
            assert not named, path.name
        assert set(languages) <= {*SHELLS, 'python', 'text'}, path.name


def test_pages_have_commands():
    """The collection is not empty by a mistake of its own."""
    counts = {path.name: len(blocks_of(path)) for path in PAGES}
    assert counts['quickstart.rst'] >= 5
    assert counts['README.md'] >= 5
    assert counts['hpc.rst'] >= 4
    assert counts['Dockerfile'] == counts['Singularity.def'] == 1
    assert sum(counts.values()) > 40


@pytest.fixture(scope='module')
def finished(template, tmp_path_factory) -> tuple[Shell, list[str]]:
    """Run the first commands of a reader truly, one after the other."""
    shell = Shell(tmp_path_factory.mktemp('truly'), template)
    shutil.rmtree(shell.data / 'study' / 'sub-02')
    page = [block for block in BLOCKS if block.page == 'docs/quickstart.rst']
    truly = [block.text for block in page if isinstance(kind_of(block.text), Run)]
    listed = '\n'.join(text.removeprefix('.venv/bin/') for text in truly)
    return shell, [call for text in truly for call in shell.give(text, DOCS_TRULY=listed)[-1:]]


@pytest.mark.slow
def test_the_first_commands_are_run(finished):
    """All that is said to be run here is, and leaves what the page says."""
    shell, calls = finished
    run = {pattern for pattern, kind in KINDS.items() if isinstance(kind, Run)}
    assert {next(known for known in KINDS if re.fullmatch(known, call)) for call in calls} == run
    for name in ('group.html', 'sub-01.html', 'group_batcheffects.json'):
        assert (shell.data / 'out' / name).is_file()


@pytest.mark.slow
def test_the_example_with_dipy_runs(finished):
    """It fits tensors to what was just made."""
    shell, _ = finished
    page = (ROOT / 'docs' / 'chaining.rst').read_text(encoding='utf-8')
    (code,) = re.findall(r'code-block:: python\n\n((?:   .*\n|\n)+)', page)
    code = '\n'.join(line[3:] for line in code.splitlines())
    stem = shell.data / 'out' / 'sub-01' / 'dwi' / 'sub-01'
    names: dict = {}
    exec(code.replace('/data/out/sub-01/dwi/sub-01_space-ACPC', str(stem)), names)
    assert names['fa'].shape == tiny_dataset.SHAPE
    assert names['fa'][names['mask'] > 0].max() > 0
