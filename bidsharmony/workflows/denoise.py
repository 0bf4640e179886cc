"""The graph that takes noise out of a series before anything else sees it."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.interfaces.noise import CorrectRician, DenoiseSeries
from bidsharmony.interfaces.summary import MeanB0
from bidsharmony.network.facts import is_preprocessed
from bidsharmony.numerics.denoise import why_not_mppca
from bidsharmony.workflows.method import Method

UNCORRECTED = (
    'The input does not say that it is preprocessed; motion, eddy currents and distortion are not '
    'corrected here.'
)
INTERPOLATED = (
    'MP-PCA was run on input that is interpolated (zero-filled or preprocessed), where noise is '
    'alike in neighbouring voxels: it finds too little noise and takes little of it out.'
)


def denoising_steps(checked: CheckedRun, method: Method) -> dict[str, bool]:
    """Say which steps take noise out of this run: ``mppca``, ``rician``."""
    mppca = method.denoise == 'mppca' and not why_not_mppca(checked.shape)
    return {'mppca': mppca, 'rician': method.rician}


def preparation_warnings(checked: CheckedRun, method: Method, in_plane: int) -> tuple[str, ...]:
    """Say what was not done to this run before it came here, and what could not be done now.

    Parameters
    ----------
    checked : CheckedRun
    method : Method
    in_plane : int
        reconstructed pixels for each acquired one
    """
    run, found = checked.run, []
    preprocessed = is_preprocessed(run.sidecar, run.entities)
    if not preprocessed:
        found.append(UNCORRECTED)
    if method.denoise == 'mppca' and (reason := why_not_mppca(checked.shape)):
        found.append(f'MP-PCA was left out of this run: {reason}.')
    elif method.denoise == 'mppca' and (preprocessed or in_plane > 1):
        found.append(INTERPOLATED)
    return tuple(found)


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
