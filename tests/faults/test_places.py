"""The disk fills, many write to one place, and nothing else can be written; once each.

The whole table is made by ``make faults``.
"""

import pytest

PARTICIPANTS = 2

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('disk', 1),
        ('array', 1),
        ('sandbox', 1),
    ],
)
def test_places(survives, name, count):
    """What must come of each stands in its table."""
    survives(name, count)
