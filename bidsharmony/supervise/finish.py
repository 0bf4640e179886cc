"""Move a participant's finished files from staging to their final names, all or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bidsharmony.bids.names import output_stem
from bidsharmony.reports.participant import write_participant_page
from bidsharmony.supervise.compat import link_anatomy, remove_stale
from bidsharmony.supervise.marker import (
    beside,
    file_sha256,
    final_place,
    fsync_folder,
    intact,
    marker_path,
    outputs_of,
    read_marker,
    stem_of,
    write_marker,
)
from bidsharmony.supervise.records import Job

QC_ENDING = '_desc-harmonized_qc.json'


def finish(
    job: Job,
    staging: Path,
    *,
    done: list[str],
    refused: list[tuple[str, str]],
    failed: list[tuple[str, str]],
    inputs: dict[str, dict[str, str]],
    options: dict[str, Any],
) -> None:
    """Write the participant's page, promote everything, and mark the runs as done.

    Runs that an earlier call finished with the same options, and that this call was not asked
    for, stay in the page and in the marker.

    Parameters
    ----------
    job : Job
    staging : Path
        folder that holds ``sub-X/`` of the runs that are done
    done : list of str
        their stems
    refused, failed : list of (relative image, reason)
    inputs : dict
        stem of each run to its files and their sha256
    options : dict
        those that change results

    Raises
    ------
    OSError
        if a file cannot be written; what was there before is then still unmarked or intact
    """
    output_dir = job.settings.output_dir
    path = marker_path(output_dir, job.participant)
    earlier = read_marker(path)
    stems_refused = {output_stem(Path(name)) for name, _ in refused}
    passed_over = dict(job.skipped)
    # asked for, read, and found to be none: what an earlier call made of it is out of date
    asked_for = {output_stem(run.image) for run in job.runs}
    stems_skipped = {output_stem(run.image) for run in job.runs if run.relative in passed_over}
    stems_skipped |= {output_stem(Path(name)) for name in job.covered} - asked_for
    addressed = asked_for | stems_refused | stems_skipped
    kept = _kept(earlier, output_dir, addressed, job.version, options, inputs)
    runs = sorted({stem_of(name, earlier['runs']) for name in kept} - {''})
    marker = {
        'participant': job.participant,
        'version': job.version,
        'options': options,
        'inputs': {**{stem: earlier['inputs'][stem] for stem in runs}, **inputs},
        'outputs': kept,
        'runs': runs,
        'refused': sorted(refused),
        'failed': sorted(failed),
        'skipped': beside(job.skipped, [*done, *runs]),
    }
    # From here until the end the marker vouches only for what is not being replaced.
    if earlier is not None:
        write_marker(path, marker)
        # What is refused now was made from other bytes: it must not stand there as its result.
        for name in outputs_of(earlier, stems_refused | stems_skipped):
            (output_dir / name).unlink(missing_ok=True)
    if not done and not kept:
        remove_stale(job, ())
        if not failed:
            path.unlink(missing_ok=True)
            (output_dir / f'{job.participant}.html').unlink(missing_ok=True)
        else:
            write_marker(path, marker)
        return
    for name in kept:
        if name.endswith((QC_ENDING, '.png')):
            place = staging / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output_dir / name, place)
    write_participant_page(
        staging,
        job.subject,
        sorted(staging.glob(f'{job.participant}/**/*{QC_ENDING}')),
        marker['skipped'],
        job.version,
        refused=sorted(refused),
        failed=sorted(failed),
    )
    outputs = {**kept, **promote(staging, output_dir)}
    if earlier is not None:
        # what a run made once and makes no more, such as a series without its directions
        for name in set(outputs_of(earlier, done)) - set(outputs):
            (output_dir / name).unlink(missing_ok=True)
    if job.settings.qsiprep_compat:
        outputs |= link_anatomy(job)
    remove_stale(job, outputs)
    write_marker(path, {**marker, 'outputs': outputs, 'runs': sorted({*runs, *done})})


def promote(staging: Path, output_dir: Path) -> dict[str, str]:
    """Flush, hash and rename every staged file into the output.

    Returns
    -------
    dict
        relative name to sha256

    Raises
    ------
    OSError
        also if a folder of the output leads out of it
    """
    files = sorted(path for path in staging.rglob('*') if path.is_file())
    hashes = {}
    for path in files:
        with path.open('rb') as file:
            os.fsync(file.fileno())
        hashes[path.relative_to(staging).as_posix()] = file_sha256(path)
    folders = set()
    for name in hashes:
        target = final_place(output_dir, name)
        os.replace(staging / name, target)
        folders.add(target.parent)
    for folder in sorted(folders):
        fsync_folder(folder)
    return hashes


def _kept(
    earlier: dict[str, Any] | None,
    output_dir: Path,
    addressed: set[str],
    version: str,
    options: dict[str, Any],
    inputs: dict[str, dict[str, str]],
) -> dict[str, str]:
    """Pick the outputs of earlier runs that still hold and are not made anew.

    Runs share files, such as an inherited sidecar or a b=0 that is lent: one that was made from
    another version of a file than is there now holds no more. Nor does one that shared its gain
    with a run that is made again by itself: runs that share a gain have the same inputs.
    """
    if earlier is None or earlier['version'] != version or earlier['options'] != options:
        return {}
    outputs, before = {}, earlier['inputs']
    now = {name: sha for files in inputs.values() for name, sha in files.items()}
    left = [before[stem] for stem in addressed & set(before) if before[stem] != inputs.get(stem)]
    for stem in sorted(set(earlier['runs']) - addressed):
        mine, made_from = outputs_of(earlier, [stem]), before.get(stem)
        if made_from is None or any(now.get(name, sha) != sha for name, sha in made_from.items()):
            continue
        if made_from in left:
            continue
        if intact(output_dir, mine):
            outputs.update(mine)
    return outputs
