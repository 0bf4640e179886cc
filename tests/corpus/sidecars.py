"""Sidecars that are missing, cannot be read, or hold entries of another type or unit."""

import json

from tests import tiny_dataset
from tests.corpus.case import Table

TABLE = Table('sidecar')


# MASiVar has none that names a scanner: nothing is required
@TABLE.processed('"scanner": "unknown scanner"')
def none(run):
    """Leave it out."""
    run.beside('.json').unlink()


@TABLE.refused('is not valid JSON (line 1, column 1). Repair it')
def empty(run):
    """Leave a file of no bytes."""
    run.write_text('.json', '')


@TABLE.refused('is not valid JSON')
def cut(run):
    """Lose the second half."""
    text = run.beside('.json').read_text()
    run.write_text('.json', text[: len(text) // 2])


@TABLE.refused('holds no JSON object. Write its entries between braces')
def a_list(run):
    """Hold a list."""
    run.write_text('.json', json.dumps([tiny_dataset.SIDECAR]))


@TABLE.refused('holds no JSON object')
def a_number(run):
    """Hold a number."""
    run.write_text('.json', '3')


# Windows editors write it, and the text behind it is whole
@TABLE.processed('"scanner": "Siemens Prisma 3 T"')
def byte_order_mark(run):
    """Begin with a byte order mark."""
    run.write_text('.json', '\ufeff' + run.beside('.json').read_text())


@TABLE.refused('is not UTF-8 text. Save it as UTF-8')
def utf_16(run):
    """Be saved as UTF-16."""
    run.beside('.json').write_bytes(run.beside('.json').read_text().encode('utf-16'))


@TABLE.refused('is not UTF-8 text. Save it as UTF-8')
def latin_1(run):
    """Hold a letter with an accent as one byte."""
    run.beside('.json').write_bytes('{"ProtocolName": "tête"}'.encode('latin-1'))


@TABLE.refused('is larger than 1 MB, which no sidecar is')
def too_large(run):
    """Hold more than a megabyte."""
    run.sidecar(Comment='x' * 2**20)


@TABLE.refused('is nested deeper than 50 levels. Flatten it')
def deep(run):
    """Nest 60 levels."""
    run.write_text('.json', '{"a":' * 60 + '1' + '}' * 60)


@TABLE.refused('is nested deeper than 50 levels. Flatten it')
def very_deep(run):
    """Nest 100,000 levels, more than the parser has stack for."""
    run.write_text('.json', '{"a": ' + '[' * 100_000)


@TABLE.refused('a number is too long')
def long_number(run):
    """Hold a number of 5,000 digits."""
    run.write_text('.json', '{"EchoTime": ' + '1' * 5000 + '}')


@TABLE.processed('EchoTime is no number in the sidecar')
def not_a_number(run):
    """Hold NaN, which is no JSON."""
    run.sidecar(EchoTime=float('nan'))


@TABLE.processed('EchoTime is 71 in the sidecar, which is no value in BIDS units')
def milliseconds(run):
    """Give the echo time in milliseconds."""
    run.sidecar(EchoTime=71)


@TABLE.processed('EchoTime is no number in the sidecar')
def number_as_text(run):
    """Give the echo time as text."""
    run.sidecar(EchoTime='0.071')


@TABLE.processed('EchoTime is no number in the sidecar')
def list_of_numbers(run):
    """Give several echo times."""
    run.sidecar(EchoTime=[0.071, 0.09])


@TABLE.processed('EchoTime is no number in the sidecar')
def truth_value(run):
    """Give true for an echo time: Python takes it for 1."""
    run.sidecar(EchoTime=True)


@TABLE.processed('EchoTime is no number in the sidecar')
def null(run):
    """Give null for an echo time."""
    run.sidecar(EchoTime=None)


@TABLE.processed('RepetitionTime is no number in the sidecar')
def infinite(run):
    """Give a repetition time too large for a number."""
    text = run.beside('.json').read_text()
    run.write_text('.json', text.replace('"RepetitionTime": 5.2', '"RepetitionTime": 1e999'))


@TABLE.processed('RepetitionTime is no number in the sidecar')
def whole_number_too_large(run):
    """Give a repetition time as a whole number of 401 digits."""
    run.sidecar(RepetitionTime=10**400)


@TABLE.processed('"scanner": "Prisma 3 T"')
def maker_a_list(run):
    """Give a list for the manufacturer."""
    run.sidecar(Manufacturer=['Siemens', 'GE'])


# The parser of every language that is used for BIDS does so.
@TABLE.processed('"EchoTime": 0.09')
def key_twice(run):
    """Have a key twice: the last one counts."""
    run.write_text('.json', '{"EchoTime": 0.07, "EchoTime": 0.09}')


@TABLE.refused('apply to it equally. Keep one, or rename them')
def two_apply(run):
    """Inherit two sidecars of the same rank."""
    name = run.rename('*_acq-a_dir-AP_dwi')
    for entity in ('acq-a', 'dir-AP'):
        run.named(f'*_{entity}_dwi.json').write_text('{}')
    return name


@TABLE.processed('"warnings": ["RepetitionTime is no number')
def nested_entries(run):
    """Hold objects where values belong."""
    run.sidecar(RepetitionTime={'value': 5}, PhaseEncodingDirection={'axis': 'j'})
