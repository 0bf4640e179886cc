"""The graph of one diffusion run: summarise, unbias, harmonize, measure, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bidsharmony.bids.names import output_stem
from bidsharmony.interfaces.compare import CompareRun, ShowMaps
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.interfaces.lesions import MeasureLesions
from bidsharmony.interfaces.noise import MeasureB0s
from bidsharmony.interfaces.qc import MeasureRun
from bidsharmony.interfaces.shells import ShowSeries
from bidsharmony.interfaces.sidecars import public_sidecar
from bidsharmony.interfaces.summary import BrainMask, MeanB0, PairTrace, TraceWeighted
from bidsharmony.network.facts import scanner_facts, zero_filling
from bidsharmony.workflows.bias import init_bias_wf
from bidsharmony.workflows.denoise import (
    denoising_steps,
    init_denoise_wf,
    preparation_warnings,
)
from bidsharmony.workflows.groups import Sharing
from bidsharmony.workflows.harmonize import init_harmonize_wf
from bidsharmony.workflows.method import Method
from bidsharmony.workflows.outputs import init_outputs_wf, products_of
from bidsharmony.workflows.spaces import connect_spaces


def describe_run(checked: CheckedRun, warnings: tuple[str, ...]) -> dict[str, Any]:
    """Collect what the report says of a run before anything is computed.

    Parameters
    ----------
    checked : CheckedRun
    warnings : tuple of str
    """
    run = checked.run
    return {
        'run': output_stem(run.image),
        'subject': run.subject,
        'session': run.session,
        'scanner': {
            'label': run.scanner.label,
            'manufacturer': run.scanner.manufacturer,
            'model': run.scanner.model,
            'field_strength': run.scanner.field_strength,
            'software': run.scanner.software or None,
        },
        'input': {
            'image': run.uri(run.image),
            'b0_image': run.uri(checked.partner.image) if checked.partner else None,
            'shape': list(checked.shape),
            'zooms': list(checked.zooms),
            'orientation': checked.orientation,
            'slice_axis': checked.slice_axis,
            'n_volumes': checked.shape[3],
            'n_b0': len(checked.b0_ixs),
            'shells': [{'b': b, 'n': n} for b, n in checked.shells],
        },
        'sidecar': public_sidecar(run.sidecar),
        'no_series': checked.no_series,
        'notes': list(checked.notes),
        'warnings': [*checked.warnings, *warnings],
    }


def harmonized_without(partner: str) -> str:
    """Say that a run of the session could not be used."""
    return (
        f'{partner} of the same session was refused or failed, so this run was harmonized without '
        'it. Once it can be used, both are made again and share what they can.'
    )


def init_dwi_wf(
    *,
    checked: CheckedRun,
    staging_dir: Path,
    method: Method,
    threads: int,
    name: str,
    sharing: Sharing | None = None,
    without: Sequence[str] = (),
    predict_only: bool = False,
) -> Workflow:
    """Harmonize one run from its files to its derivatives.

    Parameters
    ----------
    checked : CheckedRun
        a run whose files were read to the end
    staging_dir : Path
        where its derivatives are collected
    method : Method
    threads : int
        of the network and of what else can use them; images do not depend on it
    name : str
    sharing : Sharing or None
        what it shares with other runs of its session
    without : sequence of str
        runs of its session that it would share with, had they been usable
    predict_only : bool
        whether the graph ends with the gain: nothing is multiplied, measured or written
    """
    run, b0_ixs = checked.run, list(checked.b0_ixs)
    series = not (checked.no_series or predict_only)
    facts = scanner_facts(run.sidecar, checked.shape, checked.zooms, checked.slice_axis)
    filled = zero_filling(facts.metadata, checked.zooms, checked.slice_axis)
    steps = denoising_steps(checked, method)
    workflow = Workflow(name=name)

    mean_b0 = Node(MeanB0(b0_ixs=b0_ixs), name='mean_b0')
    brain = Node(BrainMask(threads=threads), name='brain_mask')
    if checked.brain_mask is not None:
        brain.inputs.given_file = str(checked.brain_mask)
    workflow.connect([(mean_b0, brain, [('b0_file', 'b0_file')])])

    measure_b0s = Node(
        MeasureB0s(b0_ixs=b0_ixs, slice_axis=checked.slice_axis, zero_filling=filled),
        name='measure_b0s',
    )
    workflow.connect([(brain, measure_b0s, [('mask_file', 'mask_file')])])

    denoise_wf = init_denoise_wf(**steps, b0_ixs=b0_ixs)
    workflow.connect([
        (mean_b0, denoise_wf, [('b0_file', 'inputnode.b0_file')]),
        (measure_b0s, denoise_wf, [('noise_file', 'inputnode.noise_file')]),
    ])  # fmt: skip

    trace = Node(
        TraceWeighted(b0_ixs=b0_ixs, b0_threshold=method.b0_threshold, threads=threads),
        name='trace_weighted',
    )
    workflow.connect([
        (denoise_wf, trace, [('outputnode.dwi_file', 'dwi_file')]),
        (brain, trace, [('mask_file', 'mask_file')]),
    ])  # fmt: skip

    if checked.partner is None:
        gradients = {'bval_file': str(run.bval), 'bvec_file': str(run.bvec)}
        for node in (mean_b0, measure_b0s, denoise_wf.get_node('inputnode')):
            node.inputs.dwi_file = str(run.image)
        trace.inputs.trait_set(**gradients)
    else:
        pair = Node(
            PairTrace(
                trace_file=str(run.image),
                b0_source=str(checked.partner.image),
                b0_ixs=list(checked.partner.b0_ixs),
                bvals=list(checked.partner.bvals),
            ),
            name='pair',
        )
        workflow.connect([
            (pair, mean_b0, [('dwi_file', 'dwi_file')]),
            (pair, measure_b0s, [('dwi_file', 'dwi_file')]),
            (pair, denoise_wf, [('dwi_file', 'inputnode.dwi_file')]),
            (pair, trace, [(port, port) for port in ('bval_file', 'bvec_file')]),
        ])  # fmt: skip

    bias_wf = init_bias_wf(slice_axis=checked.slice_axis, apply=method.bias_correction)
    workflow.connect([
        (denoise_wf, bias_wf, [('outputnode.b0_file', 'inputnode.b0_file')]),
        (trace, bias_wf, [('trace_file', 'inputnode.trace_file')]),
        (brain, bias_wf, [('mask_file', 'inputnode.mask_file')]),
    ])  # fmt: skip

    harmonize_wf = init_harmonize_wf(
        metadata=facts.metadata,
        slice_axis=checked.slice_axis,
        b0_ixs=b0_ixs,
        zero_filling=filled,
        method=method,
        threads=threads,
        series=series,
        sharing=sharing,
    )
    workflow.connect([
        (denoise_wf, harmonize_wf, [
            (f'outputnode.{port}', f'inputnode.{port}') for port in ('dwi_file', 'noise_file')
        ]),
        (bias_wf, harmonize_wf, [
            (f'outputnode.{port}', f'inputnode.{port}')
            for port in ('b0_file', 'trace_file', 'field_file')
        ]),
        (trace, harmonize_wf, [('facts', 'inputnode.trace_facts')]),
        (brain, harmonize_wf, [('mask_file', 'inputnode.mask_file')]),
    ])  # fmt: skip

    if predict_only:
        return workflow

    warnings = (
        *preparation_warnings(checked, method, filled),
        *facts.warnings,
        *map(harmonized_without, without),
    )
    # the figures of images wait for no series, and the other way round
    compare = Node(CompareRun(slice_axis=checked.slice_axis, zero_filling=filled), name='compare')
    workflow.connect([
        (denoise_wf, compare, [('outputnode.b0_file', 'b0_before')]),
        (brain, compare, [('mask_file', 'mask_before')]),
        (trace, compare, [('trace_file', 'trace_before'), ('adc_file', 'adc_before')]),
        (harmonize_wf, compare, [
            ('outputnode.b0_file', 'b0_after'), ('outputnode.trace_file', 'trace_after'),
            ('outputnode.adc_file', 'adc_after'), ('outputnode.canonical_mask', 'mask_after'),
            ('outputnode.gain_file', 'gain_file'), ('outputnode.blend_file', 'blend_file'),
            ('outputnode.facts', 'network_facts'),
        ]),
    ])  # fmt: skip
    show_maps = Node(ShowMaps(), name='show_maps')
    workflow.connect([
        (brain, show_maps, [('mask_file', 'mask_file')]),
        (harmonize_wf, show_maps, [
            *(
                (f'outputnode.{port}', port)
                for port in ('gain_file', 'field_file', 'uncertainty_file')
            ),
            ('outputnode.facts', 'network_facts'),
        ]),
    ])  # fmt: skip
    measure = Node(
        MeasureRun(run=describe_run(checked, warnings), denoising=steps), name='measure'
    )
    workflow.connect([
        (mean_b0, measure, [('n_replaced', 'n_replaced')]),
        (measure_b0s, measure, [('agreement', 'b0_agreement')]),
        (trace, measure, [('facts', 'trace_facts')]),
        (bias_wf, measure, [('outputnode.facts', 'bias_facts')]),
        (harmonize_wf, measure, [('outputnode.facts', 'network_facts')]),
        (compare, measure, [
            ('numbers', 'compared'),
            ('figure_files', 'compare_figures'),
        ]),
        (show_maps, measure, [('figure_files', 'map_figures')]),
    ])  # fmt: skip
    if sharing is not None:
        workflow.connect([
            (harmonize_wf, measure, [('outputnode.shared_facts', 'shared_facts')]),
        ])  # fmt: skip

    if checked.lesion_masks:
        lesions = Node(
            MeasureLesions(
                lesion_files=[str(path) for path in checked.lesion_masks],
                uris=[run.uri(path) for path in checked.lesion_masks],
                slice_axis=checked.slice_axis,
            ),
            name='measure_lesions',
        )
        workflow.connect([
            (denoise_wf, lesions, [('outputnode.b0_file', 'b0_before')]),
            (brain, lesions, [('mask_file', 'mask_before')]),
            (trace, lesions, [('trace_file', 'trace_before'), ('adc_file', 'adc_before')]),
            (harmonize_wf, lesions, [
                (f'outputnode.{channel}_file', f'{channel}_after')
                for channel in ('b0', 'trace', 'adc')
            ]),
            (lesions, measure, [('lesions', 'lesions'), ('figure_files', 'lesion_figures')]),
        ])  # fmt: skip

    outputs_wf = init_outputs_wf(
        source_file=run.image,
        sources=[run.uri(path) for path in checked.sources],
        sidecar=public_sidecar(run.sidecar),
        denoising=steps,
        staging_dir=staging_dir,
        series=series,
        spaces=method.output_spaces,
        desc=method.output_desc,
    )
    describe = outputs_wf.get_node('describe').inputs
    describe.mask_given = checked.brain_mask is not None
    if 'space' in run.entities:
        describe.aligned_to = run.uri(run.image)
    if method.output_spaces:
        connect_spaces(workflow, method.output_spaces, harmonize_wf, measure, outputs_wf)
    on_grid = ('gain_file', 'field_file', 'mask_file')
    if series:
        harmonize_wf.get_node('inputnode').inputs.trait_set(**gradients)
        outputs_wf.get_node('inputnode').inputs.trait_set(**gradients)
        kept = ('series_facts', 'noise_facts', 'guarantee', 'n_not_finite')
        maps = (*on_grid, 'noise_file')
        show = Node(ShowSeries(b0_ixs=b0_ixs, **gradients), name='show_series')
        workflow.connect([
            (harmonize_wf, show, [
                ('outputnode.shells_file', 'shells_file'),
                ('outputnode.series_mask_file', 'mask_file'),
            ]),
            (show, measure, [('figure_files', 'series_figures')]),
            (harmonize_wf, measure, [(f'outputnode.{port}', port) for port in kept]),
            (harmonize_wf, outputs_wf, [
                ('outputnode.series_facts', 'inputnode.series_facts'),
                *((f'outputnode.series_{port}', f'inputnode.{port}') for port in maps),
            ]),
        ])  # fmt: skip
    else:
        workflow.connect([
            (harmonize_wf, outputs_wf, [('outputnode.gain_file', 'inputnode.gain_file')]),
            (bias_wf, outputs_wf, [('outputnode.field_file', 'inputnode.field_file')]),
            (brain, outputs_wf, [('mask_file', 'inputnode.mask_file')]),
        ])  # fmt: skip
    measured = ('qc_file', 'figure_files', 'figure_descs')
    elsewhere = {*measured, 'audit_file', 'bval_file', 'bvec_file', *on_grid, 'noise_file'}
    workflow.connect([
        (trace, outputs_wf, [('facts', 'inputnode.trace_facts')]),
        (harmonize_wf, outputs_wf, [
            ('outputnode.facts', 'inputnode.network_facts'),
            *(
                (f'outputnode.{product.port}', f'inputnode.{product.port}')
                for product in products_of(series=series)
                if product.port not in elsewhere
            ),
        ]),
        (compare, outputs_wf, [('audit_file', 'inputnode.audit_file')]),
        (measure, outputs_wf, [(port, f'inputnode.{port}') for port in measured]),
    ])  # fmt: skip
    return workflow
