"""The graph that makes canonical images, and one gain for the whole series."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.interfaces.harmonize import HarmonizeSummary
from bidsharmony.interfaces.series import HarmonizeSeries
from bidsharmony.interfaces.shared import ShareGain
from bidsharmony.workflows.groups import Sharing
from bidsharmony.workflows.method import Method

SERIES_PORTS = (
    ('dwi_file', 'dwi_file'),
    ('gain_file', 'series_gain_file'),
    ('field_file', 'series_field_file'),
    ('mask_file', 'series_mask_file'),
    ('noise_file', 'series_noise_file'),
    ('shells_file', 'shells_file'),
    ('noise_facts', 'noise_facts'),
    ('facts', 'series_facts'),
    ('guarantee', 'guarantee'),
    ('n_not_finite', 'n_not_finite'),
)
CANONICAL_PORTS = ('b0_file', 'trace_file', 'adc_file', 'uncertainty_file', 'blend_file')


def init_harmonize_wf(
    *,
    metadata: Mapping[str, float],
    slice_axis: int,
    b0_ixs: list[int],
    zero_filling: int,
    method: Method,
    threads: int,
    series: bool,
    sharing: Sharing | None = None,
    name: str = 'harmonize_wf',
) -> Workflow:
    """Run the network on two summary images, and multiply the series by the gain it predicts.

    Without a series there is none of what ``SERIES_PORTS`` lists.

    Parameters
    ----------
    metadata : mapping
        scanner facts, BIDS keys and units
    slice_axis : int
    b0_ixs : list of int
    zero_filling : int
        reconstructed pixels for each acquired one, in plane
    method : Method
    threads : int
    series : bool
        whether there is a series to multiply
    sharing : Sharing or None
        what is shared with other runs of the session; None harmonizes the run by itself

    Inputs
    ------
    dwi_file, bval_file, bvec_file
        series as scanned, (I, J, K, N), and its gradients
    b0_file, trace_file
        summary images without bias, (I, J, K)
    trace_facts
        how the trace image was made
    field_file, mask_file, noise_file
        bias field, brain, and noise of one volume, (I, J, K)

    Outputs
    -------
    b0_file, trace_file, adc_file, uncertainty_file, blend_file, canonical_mask
        canonical images, (I', J', K')
    gain_file, field_file
        what multiplies the series and what divides it, shared or the run's own, (I, J, K)
    dwi_file
        harmonized series, (I', J', K', N)
    series_gain_file, series_field_file, series_mask_file, series_noise_file
        on the grid of that series, (I', J', K')
    shells_file
        mean of its b=0 and of each shell, (I', J', K', shells)
    facts, shared_facts, series_facts, noise_facts, guarantee, n_not_finite
        for the report
    """
    workflow = Workflow(name=name)
    summary = ['b0_file', 'trace_file', 'mask_file']
    carried = ['dwi_file', 'bval_file', 'bvec_file', 'field_file', 'noise_file']
    inputnode = Node(
        IdentityInterface(fields=[*summary, *carried, 'trace_facts']), name='inputnode'
    )
    outputs = [*CANONICAL_PORTS, 'canonical_mask', 'facts', 'gain_file', 'field_file']
    outputs += ['shared_facts', *(name for _, name in SERIES_PORTS)]
    outputnode = Node(IdentityInterface(fields=outputs), name='outputnode')

    network = Node(
        HarmonizeSummary(
            metadata=dict(metadata),
            slice_axis=slice_axis,
            zero_filling=zero_filling,
            strength=method.strength,
            threads=threads,
            device=method.device,
        ),
        name='network',
    )
    if method.canonical_resolution is not None:
        network.inputs.canonical_resolution = method.canonical_resolution
    if method.weights is not None:
        network.inputs.weights = str(method.weights)
    workflow.connect([
        (inputnode, network, [(port, port) for port in (*summary, 'trace_facts')]),
        (network, outputnode, [
            *((port, port) for port in CANONICAL_PORTS),
            ('mask_file', 'canonical_mask'),
            ('facts', 'facts'),
        ]),
    ])  # fmt: skip
    gain, field = network, inputnode
    if sharing is not None:
        share = Node(
            ShareGain(
                members=list(sharing.members),
                own=sharing.own,
                maps=list(sharing.maps),
                gain_files=[str(path) for path in sharing.gain_files],
                field_files=[str(path) for path in sharing.field_files],
                mask_files=[str(path) for path in sharing.mask_files],
            ),
            name='share',
        )
        workflow.connect([
            (network, share, [('gain_file', 'gain_file')]),
            (inputnode, share, [(port, port) for port in ('field_file', 'mask_file')]),
            (share, outputnode, [('facts', 'shared_facts')]),
        ])  # fmt: skip
        gain, field = share, share
    workflow.connect([
        (gain, outputnode, [('gain_file', 'gain_file')]),
        (field, outputnode, [('field_file', 'field_file')]),
    ])  # fmt: skip
    if not series:
        return workflow

    series = Node(
        HarmonizeSeries(
            b0_ixs=list(b0_ixs),
            slice_axis=slice_axis,
            zero_filling=zero_filling,
            strength=method.strength,
            threads=threads,
        ),
        name='series',
    )
    if method.output_resolution is not None:
        series.inputs.output_resolution = method.output_resolution
    workflow.connect([
        (inputnode, series, [
            (port, port) for port in (*carried, 'mask_file') if port != 'field_file'
        ]),
        (network, series, [('facts', 'network_facts')]),
        (gain, series, [('gain_file', 'gain_file')]),
        (field, series, [('field_file', 'field_file')]),
        (series, outputnode, list(SERIES_PORTS)),
    ])  # fmt: skip
    return workflow
