"""The command is killed at ten moments; the whole table is made by ``make faults``."""

import pytest

PARTICIPANTS = 3

pytestmark = pytest.mark.slow


def test_kills(survives):
    """Nothing partial under a final name, and an identical tree after the re-run."""
    survives('kill', 10)
