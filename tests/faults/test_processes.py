"""Participants die, are stopped, start twice, are summed up and tampered with, once or twice.

The whole table is made by ``make faults``.
"""

import pytest

PARTICIPANTS = 3

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('child', 1),
        ('signals', 2),
        ('twice', 1),
        ('group', 1),
        ('tampered', 2),
    ],
)
def test_processes(survives, name, count):
    """What must come of each stands in its table."""
    survives(name, count)
