"""See what a participant has in Slurm's queue, and take it out again."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

LOGGER = logging.getLogger('bidsharmony')

COMMANDS = ('sbatch', 'squeue', 'scancel')

ENDED = frozenset({
    'BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL', 'OUT_OF_MEMORY',
    'PREEMPTED', 'REVOKED', 'TIMEOUT',
})  # fmt: skip
"""States that no job leaves again; in all others it is waited for."""

ANSWER = 10.0
"""Seconds that Slurm has for an answer."""

PATIENCE = 6.0
"""Seconds that cancelled jobs have to leave the queue: a supervisor that is ended has 10."""

LOOK_AGAIN = 0.3
"""Seconds between looks at the queue."""


class ClusterError(RuntimeError):
    """Say in one line what Slurm did not do."""


class Queued(NamedTuple):
    """Hold a job as the queue has it."""

    number: int
    state: str
    script: str


def missing_commands() -> list[str]:
    """List the commands of Slurm that are not on the PATH."""
    return [command for command in COMMANDS if shutil.which(command) is None]


def jobs_of(user: int) -> list[Queued]:
    """List a user's jobs, those that ended lately among them.

    Raises
    ------
    ClusterError
        if Slurm does not answer
    """
    # what somebody has set for eyes of their own would hide jobs from us
    environment = {key: text for key, text in os.environ.items() if not key.startswith('SQUEUE_')}
    answer = call(
        'squeue', f'--user={user}', '--states=all', '--noheader', '--format=%A|%T|%o',
        env=environment,
    )  # fmt: skip
    rows = [line.split('|', 2) for line in answer.splitlines() if line.count('|') >= 2]
    return [Queued(int(number), state, script.strip()) for number, state, script in rows]


def cancel_jobs(*folders: Path) -> None:
    """Cancel every job whose script is below a folder, and wait until it has left the queue.

    A script's place tells whose job it is, also where the process that submitted it was killed
    before it could note a number.
    """
    places = tuple(f'{folder}/' for folder in folders)
    deadline = time.monotonic() + PATIENCE
    quiet = False
    try:
        while True:
            mine = [
                job
                for job in jobs_of(os.getuid())
                if job.state not in ENDED and job.script.startswith(places)
            ]
            # one that was being submitted a moment ago is seen at the second look
            if not mine and quiet:
                return
            quiet = not mine
            if mine:
                call('scancel', *(str(job.number) for job in mine))
            if time.monotonic() > deadline:
                numbers = ' '.join(str(job.number) for job in mine)
                raise ClusterError(f'still there after {PATIENCE:g} s: scancel {numbers}')
            time.sleep(LOOK_AGAIN)
    except ClusterError as error:
        names = ', '.join(folder.name for folder in folders)
        LOGGER.warning('%s: jobs may run on, %s', names, error)


def call(*command: str, env: dict[str, str] | None = None, timeout: float | None = ANSWER) -> str:
    """Run a command of Slurm and give what it says.

    Raises
    ------
    ClusterError
        with its last words, if it fails or is not there
    """
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace',
            timeout=timeout, check=False, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ClusterError(f'{command[0]}: no answer in {timeout:g} s') from None
    except OSError as error:
        raise ClusterError(f'{command[0]}: {error.strerror}') from None
    if answer.returncode:
        words = answer.stderr.strip().splitlines() or [f'exit code {answer.returncode}']
        raise ClusterError(f'{command[0]}: {words[-1].removeprefix(f"{command[0]}: ")}')
    return answer.stdout
