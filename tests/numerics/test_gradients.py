"""Gradient tables are read as written, and refused with the reason."""

import re

import numpy as np
import pytest

from bidsharmony.numerics.gradients import (
    GradientError,
    check_gradients,
    parse_bvals,
    parse_bvecs,
    shells,
    trace_shell,
)

X, Y, NONE = [1, 0, 0], [0, 1, 0], [0, 0, 0]
NAN = [np.nan] * 3


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('0 1000\t2000\r\n', [0, 1000, 2000]),
        ('0\n1e3\n\n+2000.\n', [0, 1000, 2000]),
        ('1000', [1000]),
    ],
)
def test_parse_bvals(text, expected):
    """Rows, columns, blanks and exponents are read."""
    np.testing.assert_array_equal(parse_bvals(text), expected)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', 'holds no b-values'),
        (' \n\n', 'holds no b-values'),
        ('0 abc', "'abc' is not a number"),
        ('0,1000', "'0,1000' is not a number"),
        ('1_000', "'1_000' is not a number"),
        ('\u0661\u0662', 'is not a number'),
        ('x' * 5000, 'is not a number'),
        ('0 0\n1 1\n0 0', '3 rows of b-values'),
    ],
)
def test_parse_bvals_refuses(text, says):
    """What is no list of numbers is refused in one short line."""
    with pytest.raises(GradientError, match=says) as caught:
        parse_bvals(text)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('0 1\n0 0\n0 0\n', [NONE, X]),
        ('0 0 0\n1 0 0\n', [NONE, X]),
        ('0 0 0\n1 0 0\n0 1 0\n0 1 0', [NONE, X, Y, Y]),
        # three volumes: FSL's three rows, not the three columns that look the same
        ('0 1 0\n0 0 1\n0 0 0', [NONE, X, Y]),
        ('1\n0\n0', [X]),
    ],
)
def test_parse_bvecs(text, expected):
    """FSL's rows and columns are both read; a square is FSL's."""
    np.testing.assert_array_equal(parse_bvecs(text), expected)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', 'holds no b-vectors'),
        ('0 1\n0 0\n0', 'rows of 1 and 2 numbers'),
        ('0 1\n0 0', '2 rows of 2 numbers'),
        ('0 1 0 0', '1 rows of 4 numbers'),
    ],
)
def test_parse_bvecs_refuses(text, says):
    """Other layouts are refused."""
    with pytest.raises(GradientError, match=says):
        parse_bvecs(text)


@pytest.mark.parametrize(
    ('bvals', 'bvecs', 'n_volumes', 'says'),
    [
        ([0] * 5, [NONE] * 6, 6, '5 b-values for 6 volumes. Re-export the series with its grad'),
        ([0, 1000], [X], 2, '1 b-vector for 2 volumes'),
        ([0, 1000], [NONE, X], 1, '2 b-values for 1 volume'),
        ([0, np.nan], [NONE, X], 2, 'a b-value of nan is impossible'),
        ([0, np.inf], [NONE, X], 2, 'a b-value of inf is impossible'),
        ([0, -1000], [NONE, X], 2, 'a b-value of -1000 is impossible'),
        ([500, 1000], [X, X], 2, 'no b=0 volume, the smallest b-value is 500'),
        ([0, 0], [NONE, NONE], 2, 'no diffusion-weighted volume'),
        ([0, 40], [NONE, X], 2, 'no diffusion-weighted volume'),
        ([0, 1], [NONE, X], 2, 'the largest b-value is 1, which is not in s/mm2'),
        ([0, 1e9], [NONE, X], 2, 'not in s/mm2'),
        ([0, 1e308], [NONE, X], 2, 'not in s/mm2'),
        ([0, 1000], [NONE, [0.5, 0, 0]], 2, 'volume 1 .* has a length of 0.5'),
        ([0, 1000], [NONE, [1e300, 1e300, 0]], 2, 'has a length of inf'),
        ([0, 1000], [NONE, NAN], 2, 'has a length of nan'),
    ],
)
def test_check_refuses(bvals, bvecs, n_volumes, says):
    """Each mistake has its own message, with the value."""
    with pytest.raises(GradientError, match=says):
        check_gradients(np.array(bvals, float), np.array(bvecs, float), n_volumes)


@pytest.mark.parametrize(
    ('bvals', 'bvecs', 'b0_ixs', 'notes'),
    [
        ([0, 1000], [NONE, X], [0], []),
        ([0, 1000], [X, [1.05, 0, 0]], [0], []),
        ([1.25, 929.75], [X, X], [0], ['1 volume with b up to 1.25 s/mm2 counts as b=0.']),
        ([0.002, 1000, 5], [NONE, X, NONE], [0, 2], ['2 volumes with b up to 5 .* count as b=0.']),
        ([0, 1000], [NONE, NONE], [0], ['1 volume .* without a direction counts as trace']),
        ([0, 1000], [NAN, X], [0], ['b-vector of 1 volume with b=0 is not a number']),
    ],
)
def test_check_accepts_with_notes(bvals, bvecs, b0_ixs, notes):
    """What real scanners write is taken, and said."""
    table = check_gradients(bvals, bvecs, len(bvals))
    assert table.b0_ixs.tolist() == b0_ixs
    assert sorted([*table.b0_ixs, *table.dwi_ixs]) == list(range(len(bvals)))
    assert np.isfinite(table.bvecs).all()
    assert len(table.notes) == len(notes)
    for note, pattern in zip(table.notes, notes, strict=True):
        assert re.search(pattern, note)


def test_check_threshold():
    """A higher threshold takes a weak weighting for b=0."""
    bvals, bvecs = [100, 1000], [X, X]
    with pytest.raises(GradientError, match='raise --b0-threshold'):
        check_gradients(bvals, bvecs, 2)
    assert check_gradients(bvals, bvecs, 2, b0_threshold=100).b0_ixs.tolist() == [0]


def test_check_leaves_its_arguments_alone():
    """A b-vector that is no number is mended in the table only."""
    bvecs = np.array([NAN, X], float)
    check_gradients(np.array([0.0, 1000.0]), bvecs, 2)
    assert np.isnan(bvecs[0]).all()


@pytest.mark.parametrize(
    ('bvals', 'expected'),
    [
        ([0, 0], []),
        ([0, 995, 2000, 1005, 0], [(1000, [1, 3]), (2000, [2])]),
        ([0, 300, 700, 1000, 3000], [(300, [1]), (700, [2]), (1000, [3]), (3000, [4])]),
        ([1.25, 929.75], [(929.75, [1])]),
        # a staircase does not become one shell
        ([0, 1000, 1080, 1160, 1240], [(1040, [1, 2]), (1200, [3, 4])]),
    ],
)
def test_shells(bvals, expected):
    """Near b-values make one shell, b=0 makes none."""
    assert [(shell.b, shell.ixs.tolist()) for shell in shells(bvals)] == expected


@pytest.mark.parametrize(
    ('bvals', 'b'),
    [
        ([0, 700, 1000, 3000], 1000),
        ([0, 2000], 2000),
        ([0, 500, 1500], 500),
        ([0, 5000, 1200, 600], 1200),
    ],
)
def test_trace_shell(bvals, b):
    """The shell nearest b=1000 is chosen, the lower one of two."""
    assert trace_shell(bvals).b == b


def test_trace_shell_needs_one():
    """Without a weighting there is no trace image."""
    with pytest.raises(GradientError, match='no b-value is above 50'):
        trace_shell([0, 0])
