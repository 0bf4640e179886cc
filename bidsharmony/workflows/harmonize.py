"""The graph that makes canonical images, and one gain for the whole series."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.interfaces.harmonize import ApplyGain, HarmonizeSummary
from bidsharmony.workflows.method import Method

CANONICAL_PORTS = ('b0_file', 'trace_file', 'adc_file', 'uncertainty_file', 'gain_file')


def init_harmonize_wf(
    *,
    metadata: Mapping[str, float],
    slice_axis: int,
    b0_ixs: list[int],
    method: Method,
    threads: int,
    series: bool,
    name: str = 'harmonize_wf',
) -> Workflow:
    """Run the network on two summary images, and multiply the series by the gain it predicts.

    Without a series there is no ``dwi_file``, no ``guarantee`` and no ``n_not_finite``.

    Parameters
    ----------
    metadata : mapping
        scanner facts, BIDS keys and units
    slice_axis : int
    b0_ixs : list of int
    method : Method
    threads : int
    series : bool
        whether there is a series to multiply

    Inputs
    ------
    dwi_file
        series as scanned, (I, J, K, N)
    b0_file, trace_file
        summary images without bias, (I, J, K)
    trace_facts
        how the trace image was made
    field_file, mask_file
        bias field and brain, (I, J, K)

    Outputs
    -------
    b0_file, trace_file, adc_file, uncertainty_file, canonical_mask
        canonical images, (I', J', K')
    gain_file
        (I, J, K)
    dwi_file
        harmonized series, (I, J, K, N)
    facts, guarantee, n_not_finite
        for the report
    """
    workflow = Workflow(name=name)
    inputs = ['dwi_file', 'b0_file', 'trace_file', 'trace_facts', 'field_file', 'mask_file']
    inputnode = Node(IdentityInterface(fields=inputs), name='inputnode')
    outputs = ['dwi_file', 'canonical_mask', 'facts', 'guarantee', 'n_not_finite']
    outputnode = Node(IdentityInterface(fields=[*CANONICAL_PORTS, *outputs]), name='outputnode')

    network = Node(
        HarmonizeSummary(metadata=dict(metadata), slice_axis=slice_axis, threads=threads),
        name='network',
    )
    if method.canonical_resolution is not None:
        network.inputs.canonical_resolution = method.canonical_resolution
    if method.weights is not None:
        network.inputs.weights = str(method.weights)
    workflow.connect([
        (inputnode, network, [
            (port, port) for port in ('b0_file', 'trace_file', 'trace_facts', 'mask_file')
        ]),
        (network, outputnode, [
            *((port, port) for port in CANONICAL_PORTS),
            ('mask_file', 'canonical_mask'),
            ('facts', 'facts'),
        ]),
    ])  # fmt: skip
    if not series:
        return workflow

    apply_gain = Node(ApplyGain(b0_ixs=list(b0_ixs)), name='apply_gain')
    workflow.connect([
        (inputnode, apply_gain, [
            (port, port) for port in ('dwi_file', 'field_file', 'mask_file')
        ]),
        (network, apply_gain, [('gain_file', 'gain_file')]),
        (apply_gain, outputnode, [
            (port, port) for port in ('dwi_file', 'guarantee', 'n_not_finite')
        ]),
    ])  # fmt: skip
    return workflow
