"""Voxels that show nothing, or numbers that no scanner makes."""

import numpy as np

from tests.corpus.case import Table

TABLE = Table('voxels')


@TABLE.refused('no b=0 volume shows anything')
def all_zero(run):
    """Hold 0 everywhere."""
    run.set_array(0 * run.array())


@TABLE.refused('no b=0 volume shows anything')
def constant(run):
    """Hold 100 everywhere."""
    run.set_array(0 * run.array() + 100)


@TABLE.refused('no b=0 volume shows anything')
def b0_nan(run):
    """Hold no number in the b=0."""
    data = run.array().astype(np.float32)
    data[..., 0] = np.nan
    run.set_array(data)


@TABLE.refused('no b=0 volume shows anything')
def b0_infinite(run):
    """Hold infinity all over the b=0."""
    data = run.array().astype(np.float32)
    data[..., 0] = np.inf
    run.set_array(data)


@TABLE.refused('no b=0 volume has a value above 0')
def b0_negative(run):
    """Hold negative numbers in the b=0, as a difference does."""
    data = run.array()
    data[..., 0] -= data.max() + 1
    run.set_array(data)


@TABLE.refused('no diffusion-weighted volume shows anything')
def weighted_zero(run):
    """Hold 0 in every volume but the b=0."""
    data = run.array()
    data[..., 1:] = 0
    run.set_array(data)


@TABLE.refused('values up to 1e+200')
def too_high(run):
    """Hold numbers that a float of 32 bits does not."""
    data = run.array().astype(np.float64)
    data[5, 5, 5] = 1e200
    run.set_array(data)


# Dropping the volume is up to whoever knows why it is so.
@TABLE.processed('Volume 3 (from 0) holds one value everywhere')
def volume_zero(run):
    """Hold 0 in one of the weighted volumes."""
    data = run.array()
    data[..., 3] = 0
    run.set_array(data)


# How many there are is counted, and written to the qc file, while the run is processed.
@TABLE.processed('"warnings": []')
def some_nan(run):
    """Hold no number in a few voxels, as masked images do."""
    data = run.array().astype(np.float32)
    data[:3] = np.nan
    run.set_array(data)


# The bias field is left out then, which the qc file says.
@TABLE.processed('"shape": [24, 24, 1, 7]')
def one_slice(run):
    """Hold one slice."""
    run.set_array(run.array()[:, :, 5:6])
