"""Find diffusion runs in a BIDS dataset, and describe the dataset that is written."""

from bidsharmony.bids.collect import check_dataset, collect_dwi, list_participants
from bidsharmony.bids.description import bids_uri, write_dataset_description
from bidsharmony.bids.records import B0Source, BIDSError, Collection, DwiRun, Refused, Skipped
from bidsharmony.bids.scanner import Scanner, scanner_identity

__all__ = [
    'B0Source',
    'BIDSError',
    'Collection',
    'DwiRun',
    'Refused',
    'Scanner',
    'Skipped',
    'bids_uri',
    'check_dataset',
    'collect_dwi',
    'list_participants',
    'scanner_identity',
    'write_dataset_description',
]
