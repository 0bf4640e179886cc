"""Start a Slurm of one node with two processors, private to a folder, and stop it again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'scancel', 'scontrol', 'sinfo')

SYSTEM_PATH = '/usr/sbin:/sbin'
"""Where daemons are, though it is not on everybody's PATH."""

PATIENCE = 30.0
"""Seconds that the node may take to come up, and the daemons to go."""

# No cgroups, no accounting and no user of its own: a container has none of them. Processors and
# memory are those that scripts ask for, whatever this machine has; nobody is held to them.
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=65536 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class UnavailableError(RuntimeError):
    """Say why no Slurm can be had here."""


def find(program: str) -> str:
    """Find a program, also where only root looks.

    Raises
    ------
    UnavailableError
    """
    path = shutil.which(program, path=f'{os.environ.get("PATH", "")}:{SYSTEM_PATH}')
    if path is None:
        raise UnavailableError(f'{program} is not installed')
    return path


@contextlib.contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm while the context lasts.

    Parameters
    ----------
    folder : Path
        a new one, for configuration, state and logs

    Yields
    ------
    dict
        what the environment of ``sbatch`` needs

    Raises
    ------
    UnavailableError
        if a program is missing or the node does not come up; says which, or its last words
    """
    programs = {name: find(name) for name in PROGRAMS}
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UnavailableError(f'user {os.getuid()} has no name') from None
    # munge refuses a socket that others could not reach, and those of long paths cannot be made
    folder.mkdir(mode=0o755)
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    key = folder / 'munge.key'
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    ports = _free_ports(2)
    config = folder / 'slurm.conf'
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=socket.gethostname().split('.')[0],
            user=user,
            ctld_port=ports[0],
            slurmd_port=ports[1],
        )
    )
    environment = {**os.environ, 'SLURM_CONF': str(config)}
    munged = [
        programs['munged'], '--foreground', '--force', '--num-threads=2',
        f'--key-file={key}', f'--socket={folder}/munge.socket', f'--pid-file={folder}/munge.pid',
        f'--log-file={folder}/munge.log', f'--seed-file={folder}/munge.seed',
    ]  # fmt: skip
    daemons: list[subprocess.Popen] = []
    try:
        for command in (
            munged,
            [programs['slurmctld'], '-D'],
            [programs['slurmd'], '-D', '-N', 'node'],
        ):
            with (folder / f'{Path(command[0]).name}.out').open('wb') as out:
                daemons.append(
                    subprocess.Popen(
                        command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
                    )
                )
            if command is munged:
                _wait_for((folder / 'munge.socket').exists, daemons, folder)
        _wait_for(lambda: _is_idle(programs['sinfo'], environment), daemons, folder)
        yield {'SLURM_CONF': str(config)}
        subprocess.run([programs['scancel'], '--me'], env=environment, check=False)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _is_idle(sinfo: str, environment: dict[str, str]) -> bool:
    """Ask whether the node takes jobs."""
    answer = subprocess.run(
        [sinfo, '--noheader', '--format=%T'],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return answer.stdout.strip() == 'idle'


def _wait_for(ready, daemons: list[subprocess.Popen], folder: Path) -> None:
    """Wait until something holds, as long as every daemon lives."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        dead = [Path(daemon.args[0]).name for daemon in daemons if daemon.poll() is not None]
        if dead or time.monotonic() > deadline:
            name = dead[0] if dead else 'the node'
            raise UnavailableError(f'{name} did not come up: {_last_words(folder)}')
        time.sleep(0.1)


def _last_words(folder: Path) -> str:
    """Give the last line that each daemon wrote."""
    logs = sorted(path for path in folder.iterdir() if path.suffix in ('.log', '.out'))
    texts = {path.name: path.read_text(errors='replace').strip() for path in logs}
    return '; '.join(f'{name}: {text.splitlines()[-1]}' for name, text in texts.items() if text)


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(('127.0.0.1', 0))
        return [item.getsockname()[1] for item in sockets]
