"""The graph of one diffusion run: summarise, unbias, harmonize, measure, write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bidsharmony.bids.names import output_stem
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.interfaces.noise import MeasureB0s
from bidsharmony.interfaces.qc import MeasureRun
from bidsharmony.interfaces.sidecars import public_sidecar, scanner_facts, zero_filling
from bidsharmony.interfaces.summary import BrainMask, MeanB0, TraceWeighted
from bidsharmony.workflows.bias import init_bias_wf
from bidsharmony.workflows.denoise import (
    denoising_steps,
    init_denoise_wf,
    preparation_warnings,
)
from bidsharmony.workflows.harmonize import init_harmonize_wf
from bidsharmony.workflows.method import Method
from bidsharmony.workflows.outputs import PRODUCTS, init_outputs_wf


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
        },
        'input': {
            'image': run.uri(run.image),
            'shape': list(checked.shape),
            'zooms': list(checked.zooms),
            'orientation': checked.orientation,
            'slice_axis': checked.slice_axis,
            'n_volumes': checked.shape[3],
            'n_b0': len(checked.b0_ixs),
            'shells': [{'b': b, 'n': n} for b, n in checked.shells],
        },
        'sidecar': public_sidecar(run.sidecar),
        'notes': list(checked.notes),
        'warnings': list(warnings),
    }


def init_dwi_wf(
    *,
    checked: CheckedRun,
    staging_dir: Path,
    method: Method,
    threads: int,
    name: str,
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
    name : str
    """
    run, b0_ixs = checked.run, list(checked.b0_ixs)
    files = {'dwi_file': str(run.image)}
    gradients = {'bval_file': str(run.bval), 'bvec_file': str(run.bvec)}
    facts = scanner_facts(run.sidecar, checked.shape, checked.zooms, checked.slice_axis)
    filled = zero_filling(facts.metadata, checked.zooms, checked.slice_axis)
    steps = denoising_steps(checked, method)
    workflow = Workflow(name=name)

    mean_b0 = Node(MeanB0(**files, b0_ixs=b0_ixs), name='mean_b0')
    brain = Node(BrainMask(), name='brain_mask')
    if checked.brain_mask is not None:
        brain.inputs.given_file = str(checked.brain_mask)
    workflow.connect([(mean_b0, brain, [('b0_file', 'b0_file')])])

    measure_b0s = Node(
        MeasureB0s(**files, b0_ixs=b0_ixs, slice_axis=checked.slice_axis, zero_filling=filled),
        name='measure_b0s',
    )
    workflow.connect([(brain, measure_b0s, [('mask_file', 'mask_file')])])

    denoise_wf = init_denoise_wf(**steps, b0_ixs=b0_ixs)
    denoise_wf.get_node('inputnode').inputs.dwi_file = str(run.image)
    workflow.connect([
        (mean_b0, denoise_wf, [('b0_file', 'inputnode.b0_file')]),
        (measure_b0s, denoise_wf, [('noise_file', 'inputnode.noise_file')]),
    ])  # fmt: skip

    trace = Node(
        TraceWeighted(**gradients, b0_ixs=b0_ixs, b0_threshold=method.b0_threshold),
        name='trace_weighted',
    )
    workflow.connect([
        (denoise_wf, trace, [('outputnode.dwi_file', 'dwi_file')]),
        (brain, trace, [('mask_file', 'mask_file')]),
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
    )
    harmonize_wf.get_node('inputnode').inputs.trait_set(**gradients)
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

    warnings = (*preparation_warnings(checked, method, filled), *facts.warnings)
    measure = Node(
        MeasureRun(run=describe_run(checked, warnings), denoising=steps, zero_filling=filled),
        name='measure',
    )
    workflow.connect([
        (denoise_wf, measure, [('outputnode.b0_file', 'b0_before')]),
        (mean_b0, measure, [('n_replaced', 'n_replaced')]),
        (measure_b0s, measure, [('agreement', 'b0_agreement')]),
        (brain, measure, [('mask_file', 'mask_before')]),
        (trace, measure, [
            ('trace_file', 'trace_before'), ('adc_file', 'adc_before'), ('facts', 'trace_facts'),
        ]),
        (bias_wf, measure, [
            ('outputnode.field_file', 'field_file'), ('outputnode.facts', 'bias_facts'),
        ]),
        (harmonize_wf, measure, [
            ('outputnode.b0_file', 'b0_after'), ('outputnode.trace_file', 'trace_after'),
            ('outputnode.adc_file', 'adc_after'), ('outputnode.canonical_mask', 'mask_after'),
            ('outputnode.gain_file', 'gain_file'), ('outputnode.facts', 'network_facts'),
            ('outputnode.series_facts', 'series_facts'),
            ('outputnode.noise_facts', 'noise_facts'),
            ('outputnode.guarantee', 'guarantee'), ('outputnode.n_not_finite', 'n_not_finite'),
        ]),
    ])  # fmt: skip

    outputs_wf = init_outputs_wf(
        source_file=run.image,
        sources=[run.uri(path) for path in checked.sources],
        sidecar=public_sidecar(run.sidecar),
        denoising=steps,
        staging_dir=staging_dir,
    )
    outputs_wf.get_node('inputnode').inputs.trait_set(**gradients)
    describe = outputs_wf.get_node('describe').inputs
    describe.mask_given = checked.brain_mask is not None
    if 'space' in run.entities:
        describe.aligned_to = run.uri(run.image)
    measured = ('qc_file', 'audit_file', 'figure_files', 'figure_descs')
    on_series = ('gain_file', 'field_file', 'mask_file', 'noise_file')
    elsewhere = {*measured, *gradients, *on_series}
    workflow.connect([
        (trace, outputs_wf, [('facts', 'inputnode.trace_facts')]),
        (harmonize_wf, outputs_wf, [
            ('outputnode.facts', 'inputnode.network_facts'),
            ('outputnode.series_facts', 'inputnode.series_facts'),
            *((f'outputnode.series_{port}', f'inputnode.{port}') for port in on_series),
            *(
                (f'outputnode.{product.port}', f'inputnode.{product.port}')
                for product in PRODUCTS
                if product.port not in elsewhere
            ),
        ]),
        (measure, outputs_wf, [(port, f'inputnode.{port}') for port in measured]),
    ])  # fmt: skip
    return workflow
