"""The graphs hold every product, connected; nothing runs here."""

from dataclasses import replace
from pathlib import Path

import pytest
from nipype.interfaces.base import isdefined

from bidsharmony.bids import B0Source
from bidsharmony.bids.templates import find_templates
from bidsharmony.interfaces.inputs import check_run
from bidsharmony.workflows.denoise import init_denoise_wf, preparation_warnings
from bidsharmony.workflows.method import Method
from bidsharmony.workflows.outputs import (
    PRODUCTS,
    SPACE_PRODUCTS,
    expected_endings,
    products_of,
)
from bidsharmony.workflows.participant import init_participant_wf, workflow_name
from tests import templates, tiny_dataset
from tests.interfaces.test_inputs import as_run

METHOD = Method(
    denoise='mppca',
    rician=True,
    b0_threshold=40.0,
    bias_correction=False,
    canonical_resolution=2.5,
    output_resolution=3.5,
    strength=0.5,
    weights=Path(__file__),
)


@pytest.fixture
def workflow(tmp_path):
    """Build the graph of a participant with two runs, the first of which has volumes enough."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    images = [tiny_dataset.write_run(root, f'sub-01_dir-{label}') for label in ('AP', 'PA')]
    long, short = (check_run(as_run(image), 50.0) for image in images)
    return graph(tmp_path, [replace(long, shape=(*long.shape[:3], 33)), short])


def graph(tmp_path, checked, **options):
    """Build the graph of a participant's runs."""
    return init_participant_wf(
        subject='01',
        runs=checked,
        staging_dir=tmp_path / 'staging',
        work_dir=tmp_path / 'work',
        method=replace(METHOD, **options),
        threads=2,
        crash_dir=tmp_path / 'logs',
    )


def test_each_run_has_every_sink(workflow):
    """Fourteen products and the figures, for each of two runs."""
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
    workflow = graph(tmp_path, [check_run(run, 50.0)])
    names = workflow.list_node_names()
    sinks = [name for name in names if 'ds_' in name]
    assert len(sinks) == len(products_of(series=False)) + 1 == len(PRODUCTS) - 3
    assert not [name for name in names if name.endswith('harmonize_wf.series')]
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
    series = workflow.get_node(f'{run}.harmonize_wf.series').inputs
    assert series.output_resolution == 3.5
    assert network.strength == series.strength == 0.5
    assert network.threads == 2
    assert network.slice_axis == 2
    assert network.metadata['EchoTime'] == 0.071
    assert workflow.base_dir.endswith('work')


def test_each_space_has_its_registration(tmp_path):
    """With the files of its template; it takes canonical images, and figures go to the qc file."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    run = check_run(as_run(tiny_dataset.write_run(root, 'sub-01')), 50.0)
    home = tmp_path / 'templates'
    templates.write_template(home)
    templates.write_template(home, 'Bare', mask=False)
    spaces = find_templates(['Tiny:res-1', 'Bare'], home)
    workflow = graph(tmp_path, [run], output_spaces=spaces).get_node('sub_01_wf')
    first, second = (workflow.get_node(f'bring_to_space{n}').inputs for n in (0, 1))
    assert first.template_file == str(home / spaces[0].image)
    assert first.template_mask == str(home / spaces[0].mask)
    assert not isdefined(second.template_mask)
    assert (first.space, second.space) == ('Tiny:res-1', 'Bare')
    assert ('outputnode.b0_file', 'b0_file') in edges(workflow, 'harmonize_wf', 'bring_to_space0')
    assert edges(workflow, 'space_facts', 'measure') == [('out', 'spaces')]
    assert ('xfm_file', 'inputnode.space1_xfm_file') in edges(
        workflow, 'bring_to_space1', 'outputs_wf'
    )
    sinks = [name for name in workflow.list_node_names() if '.ds_space' in name]
    assert len(sinks) == 2 * (len(SPACE_PRODUCTS) + 1)


def edges(workflow, source: str, target: str) -> list[tuple[str, str]]:
    """List which ports of one node lead to which of another, by their names."""
    nodes = [next(node for node in workflow._graph if node.name == n) for n in (source, target)]
    return workflow._graph.get_edge_data(*nodes, {'connect': []})['connect']


def test_noise_is_taken_out_before_anything_else(workflow):
    """MP-PCA first, then Rician; network, gain and figures see what comes after."""
    for label, mppca in (('AP', True), ('PA', False)):
        run = workflow.get_node(f'sub_01_dir_{label}_wf')
        denoise = run.get_node('denoise_wf')
        assert (denoise.get_node('mppca') is not None) is mppca
        noise_from = 'mppca' if mppca else 'inputnode'
        assert edges(denoise, noise_from, 'rician')
        assert edges(denoise, 'rician', 'mean_b0') == [('dwi_file', 'dwi_file')]
        assert edges(denoise, 'mean_b0', 'outputnode') == [('b0_file', 'b0_file')]
        assert edges(denoise, noise_from, 'outputnode') == [('noise_file', 'noise_file')]
        for target in ('trace_weighted', 'bias_wf', 'harmonize_wf', 'compare'):
            assert edges(run, 'denoise_wf', target)
            assert not edges(run, 'mean_b0', target) or target == 'measure'
        steps = {'mppca': mppca, 'rician': True}
        assert run.get_node('measure').inputs.denoising == steps
        assert run.get_node('outputs_wf').get_node('describe').inputs.denoising == steps
        warnings = run.get_node('measure').inputs.run['warnings']
        assert any('MP-PCA was left out of this run: it has 7' in w for w in warnings) is not mppca


@pytest.mark.parametrize('drawn', [False, True])
def test_lesions_are_measured_where_a_mask_is(tmp_path, drawn):
    """From what entered the network to what left it; the figures reach qc and page."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    checked = check_run(as_run(tiny_dataset.write_run(root, 'sub-01')), 50.0)
    mask = root / 'derivatives' / 'x' / 'sub-01' / 'dwi' / 'sub-01_label-lesion_mask.nii.gz'
    mask.parent.mkdir(parents=True)
    mask.touch()
    run = graph(tmp_path, [replace(checked, lesion_masks=(mask,) if drawn else ())]).get_node(
        'sub_01_wf'
    )
    node = run.get_node('measure_lesions')
    assert (node is not None) == drawn
    if drawn:
        assert node.inputs.uris == [
            'bids:raw:derivatives/x/sub-01/dwi/sub-01_label-lesion_mask.nii.gz'
        ]
        for source in ('denoise_wf', 'brain_mask', 'trace_weighted', 'harmonize_wf'):
            assert edges(run, source, 'measure_lesions')
        assert sorted(edges(run, 'measure_lesions', 'measure')) == [
            ('figure_files', 'lesion_figures'),
            ('lesions', 'lesions'),
        ]


def test_without_denoising_the_series_passes():
    """Nothing is copied, nothing computed."""
    ports = ['dwi_file', 'b0_file', 'noise_file']
    workflow = init_denoise_wf(mppca=False, rician=False, b0_ixs=[0])
    assert workflow.list_node_names() == ['inputnode', 'outputnode']
    assert sorted(edges(workflow, 'inputnode', 'outputnode')) == [
        (port, port) for port in sorted(ports)
    ]


@pytest.mark.parametrize(
    ('name', 'sidecar', 'in_plane', 'denoise', 'words'),
    [
        ('sub-01', {}, 1, 'none', ['motion, eddy currents and distortion']),
        ('sub-01', {}, 1, 'mppca', ['motion, eddy currents and distortion']),
        ('sub-01', {}, 2, 'mppca', ['motion', 'MP-PCA was run on input that is interpolated']),
        ('sub-01', {'SkullStripped': False}, 1, 'none', []),
        ('sub-01_desc-preproc', {}, 1, 'none', []),
        ('sub-01_desc-preproc', {}, 1, 'mppca', ['MP-PCA was run on input that is interpolated']),
    ],
)
def test_raw_input_is_told_what_it_lacks(tmp_path, name, sidecar, in_plane, denoise, words):
    """One sentence, unless the input says that it is preprocessed."""
    image = tiny_dataset.write_run(tiny_dataset.write_dataset(tmp_path / 'raw'), name)
    run = as_run(image)
    entities = dict(part.split('-') for part in name.split('_'))
    run = replace(run, sidecar={**run.sidecar, **sidecar}, entities={**run.entities, **entities})
    checked = check_run(run, 50.0)
    checked = replace(checked, shape=(*checked.shape[:3], 33))
    found = preparation_warnings(checked, replace(METHOD, denoise=denoise), in_plane)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


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
