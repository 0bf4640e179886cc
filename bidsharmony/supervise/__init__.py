"""One process per participant: locks, signals, done-markers and what became of each run."""

from bidsharmony.supervise.pool import Interrupted, run_participants
from bidsharmony.supervise.records import Outcome

__all__ = ['Interrupted', 'Outcome', 'run_participants']
