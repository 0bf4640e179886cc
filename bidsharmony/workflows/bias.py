"""The graph that takes the receive coil out of the summary images."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.interfaces.bias import CorrectBias, EstimateBias


def init_bias_wf(*, slice_axis: int, apply: bool, name: str = 'bias_wf') -> Workflow:
    """Estimate one receive field on the mean b=0, and divide the summary images by it.

    Parameters
    ----------
    slice_axis : int
    apply : bool
        False gives a flat field

    Inputs
    ------
    b0_file, trace_file
        summary images as scanned, (I, J, K)
    mask_file
        brain, (I, J, K)

    Outputs
    -------
    field_file
        positive map, mean 1 in the brain
    b0_file, trace_file
        the inputs divided by it
    facts
        what was done, for the report
    """
    workflow = Workflow(name=name)
    inputnode = Node(
        IdentityInterface(fields=['b0_file', 'trace_file', 'mask_file']), name='inputnode'
    )
    outputnode = Node(
        IdentityInterface(fields=['field_file', 'b0_file', 'trace_file', 'facts']),
        name='outputnode',
    )
    estimate = Node(EstimateBias(slice_axis=slice_axis, apply=apply), name='estimate')
    # by itself: N4 does not wait for the trace image
    correct = Node(CorrectBias(), name='correct')
    workflow.connect([
        (inputnode, estimate, [(port, port) for port in ('b0_file', 'mask_file')]),
        (inputnode, correct, [('trace_file', 'in_file')]),
        (estimate, correct, [('field_file', 'field_file')]),
        (estimate, outputnode, [(port, port) for port in ('field_file', 'b0_file', 'facts')]),
        (correct, outputnode, [('out_file', 'trace_file')]),
    ])  # fmt: skip
    return workflow
