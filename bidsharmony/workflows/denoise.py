"""The graph that takes noise out of a series before anything else sees it."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.interfaces.noise import CorrectRician, DenoiseSeries
from bidsharmony.interfaces.summary import MeanB0


def init_denoise_wf(
    *, mppca: bool, rician: bool, b0_ixs: list[int], name: str = 'denoise_wf'
) -> Workflow:
    """Denoise by MP-PCA, then correct the Rician bias; what is not asked for is passed on.

    Parameters
    ----------
    mppca, rician : bool
    b0_ixs : list of int

    Inputs
    ------
    dwi_file
        series as scanned, (I, J, K, N)
    b0_file
        its mean b=0, (I, J, K)
    noise_file
        noise of one volume, the same everywhere, (I, J, K)

    Outputs
    -------
    dwi_file, b0_file
        the series and its mean b=0, to be harmonized
    noise_file
        noise that one volume had as scanned; MP-PCA measures it place by place
    """
    workflow = Workflow(name=name)
    ports = ['dwi_file', 'b0_file', 'noise_file']
    inputnode = Node(IdentityInterface(fields=ports), name='inputnode')
    outputnode = Node(IdentityInterface(fields=ports), name='outputnode')

    series, noise, b0 = inputnode, inputnode, inputnode
    if mppca:
        denoise = Node(DenoiseSeries(), name='mppca')
        workflow.connect([(series, denoise, [('dwi_file', 'dwi_file')])])
        series, noise = denoise, denoise
    if rician:
        correct = Node(CorrectRician(), name='rician')
        workflow.connect([
            (series, correct, [('dwi_file', 'dwi_file')]),
            (noise, correct, [('noise_file', 'noise_file')]),
        ])  # fmt: skip
        series = correct
    if series is not inputnode:
        b0 = Node(MeanB0(b0_ixs=b0_ixs), name='mean_b0')
        workflow.connect([(series, b0, [('dwi_file', 'dwi_file')])])
    workflow.connect([
        (series, outputnode, [('dwi_file', 'dwi_file')]),
        (noise, outputnode, [('noise_file', 'noise_file')]),
        (b0, outputnode, [('b0_file', 'b0_file')]),
    ])  # fmt: skip
    return workflow
