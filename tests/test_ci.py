"""Continuous integration names what is there, and tries the lowest versions that we promise."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WANTED = {'lint', 'unit', 'demo', 'docs', 'containers', 'floor'}
SMALL_TORCH = 'https://download.pytorch.org/whl/cpu'


@pytest.fixture(scope='module')
def config() -> dict[str, Any]:
    """Return the parsed configuration."""
    return yaml.safe_load((ROOT / '.circleci' / 'config.yml').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def floor() -> ModuleType:
    """Load `.ci/floor`, whose name is not one of a module."""
    path = ROOT / '.ci' / 'floor'
    loader = importlib.machinery.SourceFileLoader('floor', str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('floor', loader))
    loader.exec_module(module)
    return module


def commands(job: dict[str, Any]) -> list[str]:
    """List the commands of a job."""
    runs = [step['run'] for step in job['steps'] if isinstance(step, dict) and 'run' in step]
    return [run if isinstance(run, str) else run['command'] for run in runs]


def test_every_job_is_used_and_there(config):
    """A workflow names jobs that exist, and no job is forgotten."""
    used = {name: flow['jobs'] for name, flow in config['workflows'].items()}
    assert set(config['jobs']) == {job for jobs in used.values() for job in jobs}
    assert set(used['every-change']) == WANTED
    weekly = config['workflows']['every-week']
    assert 'latest' in weekly['jobs']
    ((trigger,),) = (weekly['triggers'],)
    assert len(trigger['schedule']['cron'].split()) == 5


def test_every_job_has_an_executor_with_the_small_torch(config):
    """Otherwise each of them would fetch several GB for graphics cards."""
    for name, job in config['jobs'].items():
        where = config['executors'][job['executor']] if 'executor' in job else job
        assert where['environment']['TORCH_INDEX'] == SMALL_TORCH, name
        assert 'machine' in where or where['docker'], name
        assert job['steps'][0] == 'checkout', name


def test_what_jobs_call_is_there(config):
    """Targets and variables of the Makefile, and scripts."""
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    called = [command for job in config['jobs'].values() for command in commands(job)]
    for command in called:
        for target, rest in re.findall(r'\bmake (\w+)(.*)', command):
            assert re.search(rf'^{target}:', makefile, re.MULTILINE), command
            for variable in re.findall(r'(\w+)=', re.sub(r'"[^"]*"', '', rest)):
                assert re.search(rf'^{variable} \?=', makefile, re.MULTILINE), command
        for script in re.findall(r'(?<!\S)((?:\.ci|containers)/\S+)', command):
            assert (ROOT / script).stat().st_mode & 0o111, command
        assert re.search(r'make|\.ci/|containers/', command), command
    assert len(called) > len(config['jobs'])


@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        ([], "install --quiet 'torch==2"),
        (['TORCH='], "install --quiet 'torch'\n"),
        (['CONSTRAINTS=floor.txt'], "--constraint 'floor.txt' --editable '.[test]'"),
        (['TORCH_INDEX=x'], "--index-url 'x' 'torch==2"),
    ],
)
def test_makefile_takes_the_versions(tmp_path, variables, said):
    """Those that a job asks for."""
    make = shutil.which('make')
    if make is None:
        pytest.skip('make is not installed')
    command = [make, '--dry-run', 'env', f'VENV={tmp_path / "new"}', *variables]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said in re.sub(r' +', ' ', shown)


def test_floors(floor):
    """Each requirement gives its lowest version."""
    block = '\n# a reason\nmonai >= 1.5.1\nnipype>=1.11, < 1.12\n'
    assert floor.floors(block) == ['monai==1.5.1', 'nipype==1.11']


@pytest.mark.parametrize('line', ['numpy', 'numpy < 2', 'numpy == 2.0', 'numpy >= 2, != 2.1'])
def test_a_requirement_without_a_floor_is_told(floor, line):
    """Otherwise the job would silently take the latest."""
    with pytest.raises(ValueError, match=re.escape(line)):
        floor.floors(line)


def test_every_requirement_has_a_pin():
    """The command prints all of them, with the extras that it is asked for."""
    setup = (ROOT / 'setup.cfg').read_text(encoding='utf-8')
    extras = ['test', 'crosscheck', 'lint', 'docs']
    said = subprocess.check_output([ROOT / '.ci' / 'floor', *extras], text=True).splitlines()
    assert len(said) == len(re.findall(r'^ +[a-z][\w-]* *>=', setup, re.MULTILINE))
    assert all(re.fullmatch(r'[\w-]+==[\d.]+', pin) for pin in said)
    assert next(pin for pin in said if pin.startswith('torch=='))


def stub(folder: Path, name: str, text: str) -> Path:
    """Write a program that stands in for another one."""
    path = folder / name
    path.write_text(f'#!/bin/sh\nset -eu\n{text}')
    path.chmod(0o755)
    return path


DOCKER = """
case $1 in
build|pull) exit 0 ;;
image) echo 2000000000; exit 0 ;;
save) touch "$3"; exit 0 ;;
esac
out=
for word in "$@"; do
    case $word in
    *:/out) out=${word%:/out} ;;
    --version) echo v; exit 0 ;;
    esac
done
echo "${BYTES:-same}" > "$out/page.html"
mkdir "$out/logs"; echo docker > "$out/logs/log"
"""
PYTHON = """
if [ "$2" = tests.tiny_dataset ]; then mkdir "$3"; exit 0; fi
mkdir -p "$4/logs"; echo same > "$4/page.html"; echo native > "$4/logs/log"
"""
APPTAINER = """
if [ "$1" = build ]; then
    while [ $# -gt 2 ]; do shift; done
    case $2 in
    *.def) grep -q 'Bootstrap: docker-archive' "$2"; [ -z "${NO_RECIPE:-}" ] || exit 1 ;;
    esac
    touch "$1"
    exit 0
fi
for word in "$@"; do case $word in *:/out) echo same > "${word%:/out}/page.html" ;; esac; done
"""


@pytest.mark.parametrize(
    ('bytes_', 'programs', 'code', 'said'),
    [
        ('same', {}, 0, 'skip  apptainer is not installed'),
        ('other', {}, 1, 'FAIL  docker: the tree is'),
        ('same', {'apptainer': APPTAINER}, 0, 'ok    apptainer: the same bytes'),
        ('same', {'apptainer': 'exit 1\n'}, 1, 'FAIL  apptainer build'),
        ('same', {'apptainer': APPTAINER}, 0, 'ok    Singularity.def: the same bytes'),
        (
            'same',
            {'apptainer': f'NO_RECIPE=1\n{APPTAINER}'},
            1,
            'FAIL  apptainer build Singularity.def',
        ),
        ('same', {'hadolint': 'exit 1\n'}, 1, ''),
        ('same', {}, 0, 'skip  spython is not installed'),
        ('same', {'spython': 'exit 0\n'}, 0, 'ok    spython reads'),
    ],
)
def test_verify_tells_what_it_saw(tmp_path, bytes_, programs, code, said):
    """The script's own logic, with an engine that only pretends: bytes that differ are told."""
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    stub(bin_dir, 'docker', DOCKER)
    stub(bin_dir, 'chown', 'exit 0\n')
    for name, text in programs.items():
        stub(bin_dir, name, text)
    for name in (
        *(
            'basename',
            'cut',
            'diff',
            'dirname',
            'find',
            'head',
            'id',
            'mkdir',
            'mktemp',
            'rm',
            'sh',
        ),
        *('sha256sum', 'sort', 'tail', 'touch', 'cat', 'sed', 'grep'),
    ):
        (bin_dir / name).symlink_to(shutil.which(name))
    environment = {
        'PATH': str(bin_dir),
        'ENGINE': 'docker',
        'BYTES': bytes_,
        'PYTHON': str(stub(tmp_path, 'python', PYTHON)),
    }
    done = subprocess.run(
        [ROOT / 'containers' / 'verify.sh', tmp_path / 'work'],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
