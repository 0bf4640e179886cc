"""The graphs hold every product, connected; nothing runs here."""

from dataclasses import replace
from pathlib import Path

import pytest

from bidsharmony.bids import B0Source
from bidsharmony.interfaces.inputs import check_run
from bidsharmony.workflows.method import Method
from bidsharmony.workflows.outputs import PRODUCTS, expected_endings, products_of
from bidsharmony.workflows.participant import init_participant_wf, workflow_name
from tests import tiny_dataset
from tests.interfaces.test_inputs import as_run


@pytest.fixture
def workflow(tmp_path):
    """Build the graph of a participant with two runs."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    images = [tiny_dataset.write_run(root, f'sub-01_dir-{label}') for label in ('AP', 'PA')]
    return graph(tmp_path, root, [as_run(image) for image in images])


def graph(tmp_path, root, runs):
    """Build the graph of a participant's runs."""
    return init_participant_wf(
        subject='01',
        runs=[check_run(run, 50.0) for run in runs],
        bids_dir=root,
        staging_dir=tmp_path / 'staging',
        work_dir=tmp_path / 'work',
        method=Method(
            b0_threshold=40.0,
            bias_correction=False,
            canonical_resolution=2.5,
            weights=Path(__file__),
        ),
        threads=2,
    )


def test_each_run_has_every_sink(workflow):
    """Thirteen products and the figures, for each of two runs."""
    names = workflow.list_node_names()
    for label in ('AP', 'PA'):
        sinks = [
            n for n in names if n.startswith(workflow_name(f'sub-01_dir-{label}')) and 'ds_' in n
        ]
        assert len(sinks) == len(PRODUCTS) + 1


@pytest.mark.parametrize('paired', [False, True], ids=['one file', 'two files'])
def test_without_directions_there_is_no_series(tmp_path, paired):
    """Neither gain on volumes nor sinks for them; a pair of files is put together first."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    image = tiny_dataset.write_run(root, 'sub-01')
    run = as_run(tiny_dataset.drop_directions(image))
    if paired:
        trace = tiny_dataset.write_trace(root, 'sub-01_acq-b1000')
        source = B0Source(image, run.bval)
        run = replace(as_run(trace), b0_sources=(source,))
    workflow = graph(tmp_path, root, [run])
    names = workflow.list_node_names()
    sinks = [name for name in names if 'ds_' in name]
    assert len(sinks) == len(products_of(series=False)) + 1 == len(PRODUCTS) - 2
    assert not [name for name in names if 'apply_gain' in name]
    assert bool([name for name in names if name.endswith('.pair')]) == paired


def test_runs_do_not_depend_on_each_other(workflow):
    """The crash of one run leaves the other alone."""
    assert not workflow._graph.edges


def test_options_reach_their_nodes(workflow):
    """Each argument of the factory is wired."""
    run = 'sub_01_dir_AP_wf'
    assert workflow.get_node(f'{run}.trace_weighted').inputs.b0_threshold == 40.0
    assert workflow.get_node(f'{run}.bias_wf.estimate').inputs.apply is False
    network = workflow.get_node(f'{run}.harmonize_wf.network').inputs
    assert network.weights == str(Path(__file__))
    assert network.canonical_resolution == 2.5
    assert network.threads == 2
    assert network.slice_axis == 2
    assert network.metadata['EchoTime'] == 0.071
    assert workflow.base_dir.endswith('work')


def test_no_node_knows_private_facts(workflow):
    """Nipype writes inputs into crash files and reports."""
    for name in workflow.list_node_names():
        assert '4711' not in str(workflow.get_node(name).inputs)


def test_all_images_have_sidecars():
    """Every image ends in the list together with its sidecar."""
    endings = expected_endings()
    assert len(set(endings)) == len(endings)
    for ending in endings:
        if ending.endswith('.nii.gz'):
            assert ending.replace('.nii.gz', '.json') in endings
