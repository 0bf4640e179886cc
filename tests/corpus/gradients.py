"""b-values and b-vectors that are missing, of another count, unit or layout, or no numbers."""

import numpy as np

from tests.corpus.case import Table

TABLE = Table('gradients')


@TABLE.refused('no .bval file applies to it. Add it')
def no_bval(run):
    """Leave out the b-values."""
    run.beside('.bval').unlink()


@TABLE.refused('no .bvec file applies to it. Add it')
def no_bvec(run):
    """Leave out the b-vectors."""
    run.beside('.bvec').unlink()


@TABLE.refused('no .bval and no .bvec file applies to it')
def no_gradients(run):
    """Leave out both."""
    run.beside('.bval').unlink()
    run.beside('.bvec').unlink()


@TABLE.refused('5 b-values for 7 volumes. Re-export')
def bvals_too_few(run):
    """Lose two b-values."""
    run.bvals(0, 1000, 1000, 1000, 1000)


@TABLE.refused('9 b-values for 7 volumes. Re-export')
def bvals_too_many(run):
    """Have two b-values too many."""
    run.bvals(0, *[1000] * 8)


@TABLE.refused('5 b-vectors for 7 volumes. Re-export')
def bvecs_too_few(run):
    """Lose two b-vectors."""
    run.set_bvecs(run.bvecs()[:5])


@TABLE.refused('holds no b-values. Export it again')
def bval_empty(run):
    """Leave a file without b-values."""
    run.write_text('.bval', '\n')


@TABLE.refused('7 rows of b-values, not one')
def swapped(run):
    """Let either file have the other's name."""
    bval = run.beside('.bval').read_text()
    np.savetxt(run.beside('.bval'), run.bvecs())
    run.write_text('.bvec', bval)


@TABLE.refused('a b-value of nan is impossible')
def bval_nan(run):
    """Have a b-value that is no number."""
    run.bvals(0, 'nan', *[1000] * 5)


@TABLE.refused('a b-value of inf is impossible')
def bval_infinite(run):
    """Have a b-value too large for a number."""
    run.bvals(0, '1e999', *[1000] * 5)


@TABLE.refused('a b-value of -1000 is impossible')
def bval_negative(run):
    """Have a negative b-value: dipy takes it for b=0."""
    run.bvals(0, -1000, *[1000] * 5)


@TABLE.refused("'high' is not a number")
def bval_words(run):
    """Have a word for a b-value."""
    run.bvals(0, 'high', *[1000] * 5)


@TABLE.refused('is not a number. Write numbers with a decimal point')
def commas(run):
    """Part the b-values by commas."""
    run.write_text('.bval', '0,1000,1000,1000,1000,1000,1000')


@TABLE.refused('rows of 6 and 7 numbers. Write three rows')
def ragged(run):
    """Lose the last number of the first row of b-vectors."""
    first, *rest = run.beside('.bvec').read_text().splitlines()
    run.write_text('.bvec', '\n'.join([first.rpartition(' ')[0], *rest]))


@TABLE.refused('4 rows of 7 numbers. Write three rows')
def four_rows(run):
    """Have the b-values as a fourth row of the b-vectors."""
    text = run.beside('.bvec').read_text() + run.beside('.bval').read_text()
    run.write_text('.bvec', text)


@TABLE.refused('2 rows of b-values, not one')
def two_rows(run):
    """Have the b-values twice."""
    run.write_text('.bval', 2 * run.beside('.bval').read_text())


# some programs write them so, and there is no other way to read it
@TABLE.processed('"shells": [[1000.0, 6]]')
def one_column(run):
    """Have the b-values one below the other."""
    run.write_text('.bval', run.beside('.bval').read_text().replace(' ', '\n'))


@TABLE.refused('the largest b-value is 1, which is not in s/mm2')
def in_ms_per_um2(run):
    """Give b-values in ms/um2."""
    run.bvals(0, *[1] * 6)


@TABLE.refused('the largest b-value is 1e+09, which is not in s/mm2')
def in_s_per_m2(run):
    """Give b-values in s/m2."""
    run.bvals(0, *[1e9] * 6)


@TABLE.refused('no b=0 volume, the smallest b-value is 1000 s/mm2. Add a b=0 volume')
def no_b0(run):
    """Have weighted volumes only."""
    run.bvals(*[1000] * 7)


# it may serve a trace image, so there is nothing wrong with it
@TABLE.skipped('it holds b=0 and no diffusion weighting')
def only_b0(run):
    """Have b=0 volumes only."""
    run.bvals(*[0] * 7)


@TABLE.processed('1 volume with b up to 1.25 s/mm2 counts as b=0.')
def small_b(run):
    """Have a b=0 of 1.25 s/mm2."""
    run.bvals(1.25, *[1000] * 6)


@TABLE.processed('The b-vector of 1 volume with b=0 is not a number; it is taken as 0.')
def b0_vector_nan(run):
    """Have no number for the b-vector of the b=0."""
    vectors = run.bvecs()
    vectors[0] = np.nan
    run.set_bvecs(vectors)


@TABLE.refused('the b-vector of volume 3 (from 0) has a length of nan, not 1')
def vector_nan(run):
    """Have no number for the b-vector of a weighted volume."""
    vectors = run.bvecs()
    vectors[3] = np.nan
    run.set_bvecs(vectors)


@TABLE.refused('has a length of 31.6228, not 1')
def not_unit(run):
    """Have b-vectors that are scaled by the root of b."""
    run.set_bvecs(run.bvecs() * np.sqrt(1000))


@TABLE.processed('the diffusion-weighted volumes have no direction')
def no_directions(run):
    """Have zeros for all b-vectors: trace images."""
    run.set_bvecs(0 * run.bvecs())


@TABLE.processed('1 volume with b > 50 s/mm2 and without a direction counts as trace images.')
def one_without_direction(run):
    """Have zeros for the b-vector of a weighted volume."""
    vectors = run.bvecs()
    vectors[3] = 0
    run.set_bvecs(vectors)


@TABLE.refused('fit their b-values only if each row is a volume. Write three rows')
def three_by_three(run):
    """Have three volumes, and their b-vectors as rows."""
    run.set_array(run.array()[..., :3])
    run.bvals(0, 1000, 1000)
    np.savetxt(run.beside('.bvec'), run.bvecs()[:3], fmt='%g')


@TABLE.refused('is not a text file. Export it again')
def utf_16(run):
    """Save the b-values as another system's text."""
    run.beside('.bval').write_bytes(run.beside('.bval').read_text().encode('utf-16'))
