"""Find diffusion runs in a BIDS dataset, and describe the dataset that is written."""

from bidsharmony.bids.collect import check_dataset, collect_dwi, list_participants
from bidsharmony.bids.description import (
    COMPAT,
    write_compat_description,
    write_dataset_description,
)
from bidsharmony.bids.qsiprep import QSIPREP, collect_qsiprep
from bidsharmony.bids.records import (
    B0Source,
    BIDSError,
    Collection,
    Covered,
    DwiRun,
    Refused,
    Skipped,
    bids_uri,
)
from bidsharmony.bids.scanner import Scanner, scanner_identity

__all__ = [
    'COMPAT',
    'QSIPREP',
    'B0Source',
    'BIDSError',
    'Collection',
    'Covered',
    'DwiRun',
    'Refused',
    'Scanner',
    'Skipped',
    'bids_uri',
    'check_dataset',
    'collect_dwi',
    'collect_qsiprep',
    'list_participants',
    'scanner_identity',
    'write_compat_description',
    'write_dataset_description',
]
