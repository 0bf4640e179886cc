"""Time the group level on thousands of runs, which are drawn heads under many names.

The audit slices of a small planted study are linked under the names of all runs, and each run has
figures of its own, those of its scanner with some noise: what is read and counted is real, and no
result of the audit means anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bidsharmony.cli.group import run_group  # noqa: E402
from bidsharmony.settings import Settings  # noqa: E402
from tests.planted_study import planted_study  # noqa: E402

SCANNERS, HEADS, SLICES = 40, 3, 7
RUNS_OF_A_SUBJECT = 2
QC, AUDIT = '_desc-harmonized_qc.json', '_desc-audit_slices.npz'


def write_study(folder: Path, runs: int) -> Path:
    """Write the output of so many runs, two of each subject, and the participants' table."""
    models, out_dir = folder / 'models', folder / 'derivatives'
    models.mkdir()
    planted_study(
        models,
        scanners=SCANNERS,
        subjects=HEADS,
        n_slices=SLICES,
        effect=0.05,
        travelling=False,
    )
    templates = []
    for path in sorted(models.glob(f'sub-*/dwi/*{QC}')):
        audit = path.with_name(path.name.replace(QC, AUDIT))
        digest = hashlib.sha256(audit.read_bytes()).hexdigest()
        templates.append((json.loads(path.read_text()), audit, digest))
    done = out_dir / '.bidsharmony' / 'done'
    done.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ['participant_id\tage']
    for index in range(runs // RUNS_OF_A_SUBJECT):
        subject = f'{index:05d}'
        lines.append(f'sub-{subject}\t{rng.integers(20, 80)}')
        outputs, stems = {}, []
        for session in range(RUNS_OF_A_SUBJECT):
            document, audit, digest = templates[(index + 7 * session) % len(templates)]
            stem = f'sub-{subject}_ses-{session}'
            place = Path(f'sub-{subject}', f'ses-{session}', 'dwi')
            (out_dir / place).mkdir(parents=True)
            text = json.dumps(
                document
                | {'run': stem, 'subject': subject, 'session': str(session)}
                | {'glcm': _varied(document['glcm'], rng)}
            )
            (out_dir / place / f'{stem}{QC}').write_text(text)
            os.link(audit, out_dir / place / f'{stem}{AUDIT}')
            outputs[f'{place}/{stem}{QC}'] = hashlib.sha256(text.encode()).hexdigest()
            outputs[f'{place}/{stem}{AUDIT}'] = digest
            stems.append(stem)
        marker = {'participant': f'sub-{subject}', 'version': '0.1.0', 'inputs': {}, 'options': {}}
        marker |= {'outputs': outputs, 'runs': stems, 'refused': []}
        (done / f'sub-{subject}.json').write_text(json.dumps(marker))
    (folder / 'participants.tsv').write_text('\n'.join([*lines, '']))
    return out_dir


def _varied(block: object, rng: np.random.Generator) -> object:
    """Change every number a little."""
    if isinstance(block, dict):
        return {name: _varied(inner, rng) for name, inner in block.items()}
    return float(f'{block * rng.normal(1, 0.01):.6g}')


def group(runs: int, audit: str) -> dict[str, float]:
    """Run the group level on so many runs, in a process of its own.

    Returns
    -------
    dict
        ``seconds``, ``memory_mb`` (the most that a process of it held), ``slices`` compared.
    """
    command = [sys.executable, __file__, '--runs', str(runs), '--audit', audit]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(said.splitlines()[-1])


def main() -> None:
    """Write a study, run the group level on it and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=20000)
    parser.add_argument('--audit', default='quick')
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out_dir = write_study(Path(folder), given.runs)
        settings = Settings(
            bids_dir=Path(folder),
            output_dir=out_dir,
            analysis_levels=('group',),
            audit=given.audit,
            nprocs=2,
        )
        began = time.perf_counter()
        if run_group(settings):
            raise SystemExit('the group level failed')
        seconds = time.perf_counter() - began
        found = json.loads((out_dir / 'group_batcheffects.json').read_text())
    # not rusage's of this process, which counts what its parent held before it called exec
    status = Path('/proc/self/status').read_text()
    held = max(
        int(status.split('VmHWM:')[1].split()[0]),
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )
    print(json.dumps({
        'seconds': seconds,
        'memory_mb': held / 1024,
        'slices': found['n_slices'],
        'runs': found['n_runs'],
    }))  # fmt: skip


if __name__ == '__main__':
    main()
