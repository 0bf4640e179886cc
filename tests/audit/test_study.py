"""The simulated studies are what they say: older heads have more fluid, runs are marked done."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bidsharmony.evaluation.finished import FinishedRun, read_runs
from bidsharmony.physics.protocol import held_out_scanners
from bidsharmony.physics.tissue import TISSUE_NAMES
from tests.physics.heads import ball

FLUID = TISSUE_NAMES.index('cerebrospinal fluid')


@pytest.fixture
def study(benchmark_script):
    """The benchmark's file."""
    return benchmark_script('study')


def test_age_widens_inner_fluid(study):
    """A sphere of fluid grows by the widening on all sides; the brain's rim and skull stay."""
    head = ball()
    place = np.indices(head.codes.shape) - (head.codes.shape[0] - 1) / 2
    distance = np.sqrt((place**2).sum(axis=0))
    head.codes[distance <= 10] = FLUID
    older = study.aged(head, 'older', 3.0)
    changed = older.codes != head.codes
    assert (older.codes[changed] == FLUID).all()
    assert changed[(distance > 10.5) & (distance < 12.5)].all()
    assert not changed[distance > 14].any()
    np.testing.assert_array_equal(study.aged(head, 'same', 0.0).codes, head.codes)


def test_slices_are_cut_as_the_program_does(study):
    """A mark to the right and in front lies to the left and on top of the picture."""
    before, after = np.zeros((2, 1, 104, 104)), np.zeros((1, 2, 208, 208))
    after[0, :, 150:160, 150:160] = 1  # rows run along y, columns along x
    before[:, 0, 75:80, 75:80] = 1
    brain = np.zeros((1, 208, 208), bool)
    brain[:, 20:188, 20:188] = True
    audit = study.audit_of(before, after, brain)
    assert audit['before'].shape == audit['after'].shape == (1, 2, 160, 160)
    for side in ('before', 'after'):
        rows, columns = np.nonzero(audit[side][0, 0] > 0.5)
        assert rows.max() < 80
        assert columns.max() < 80


def test_a_run_is_read_as_finished(study, tmp_path):
    """What is written is marked, whole and usable, with lesions where the simulator put them."""
    rng = np.random.default_rng(0)
    brain = np.zeros((1, 208, 208), bool)
    brain[:, 30:180, 40:170] = True
    lesion = np.zeros_like(brain)
    lesion[:, 100:120, 100:120] = True
    trace = (0.4 + 0.5 * lesion[0]) * brain[0]
    after = np.stack([brain[0] * 1.0, trace])[None] + 0.01 * rng.normal(size=(1, 2, 208, 208))
    cohort = SimpleNamespace(
        scans=[[after[0][:, None]]],
        images={'network': after[None, None]},
        brain=brain[None],
        ischaemia=lesion[None],
    )
    protocol = held_out_scanners(np.random.default_rng(0))[0]
    study.write_run(tmp_path, study.Run('13', '1', protocol, 'A'), cohort, 0, 0, 'network')
    study.mark_done(tmp_path, '13')
    (run,) = read_runs(tmp_path)
    assert isinstance(run, FinishedRun)
    assert run.audit_file is not None
    assert run.qc['scanner']['label'].startswith(protocol.vendor)
    assert run.qc['simulated'] is True
    assert run.qc['lesions']['n_patches'] == 1
    assert run.qc['lesions']['dice']['trace_bright']['before_after'] == pytest.approx(1, abs=0.02)
    assert json.loads(run.qc_file.read_text())['psd']['b0']['after']
