"""Tables of participants are read as BIDS has them, and faults are told in one line."""

import pytest

from bidsharmony.bids.participants import participants_of, read_column
from bidsharmony.bids.records import BIDSError


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (
            'participant_id\tsite\nsub-01\tRome\n02\tBerlin\n',
            {('01', ''): 'Rome', ('02', ''): 'Berlin'},
        ),
        (
            'participant_id\tsession_id\tsite\nsub-01\tses-a\tRome\nsub-01\tb\tBerlin\n',
            {('01', 'a'): 'Rome', ('01', 'b'): 'Berlin'},
        ),
        (
            'participant_id\tsession_id\tsite\nsub-01\tn/a\tRome\nsub-02\ta\tN/A\n',
            {('01', ''): 'Rome'},
        ),
        ('\ufeffparticipant_id\tsite\r\nsub-01\t Rome \r\nsub-02\r\n', {('01', ''): 'Rome'}),
        ('site\tparticipant_id\n"Ro\tsub-01\tmore\tcells\n', {('01', ''): '"Ro'}),
        ('participant_id\tsite\nsub-01\tRome\nsub-01\tRome\n', {('01', ''): 'Rome'}),
    ],
)
def test_columns_are_read(tmp_path, text, expected):
    """Prefixes or none, sessions or none, missing values, short and long rows."""
    (tmp_path / 'table.tsv').write_text(text, newline='')
    assert read_column(tmp_path / 'table.tsv', 'site') == expected


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (None, 'is not there'),
        (b'', 'has no column participant_id'),
        (
            b'participant_id,site\nsub-01,Rome\n',
            'has no column participant_id. Is it tab-separated',
        ),
        (b'participant_id\tsite\n', 'has no row'),
        (b'participant_id\troom\nsub-01\tx\n', 'has no such column; it has: room'),
        (b'participant_id\nsub-01\n', 'it has: none'),
        (b'participant_id\tsite\nsub-01\tn/a\n', 'has no value in that column'),
        (b'participant_id\tsite\nsub-01\tA\nsub-01\tB\n', 'has two values for sub-01: A and B'),
        (b'participant_id\tsite\nsub-01\t\xff\n', 'is not UTF-8 text'),
    ],
)
def test_faults_are_told(tmp_path, content, said):
    """A cause and a remedy."""
    path = tmp_path / 'table.tsv'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BIDSError, match=said):
        read_column(path, 'site')


def test_participants_of_a_dataset(tmp_path):
    """The table, and what the JSON says of its columns; without them, nothing."""
    assert participants_of(tmp_path) == ({}, {})
    (tmp_path / 'participants.tsv').write_text('participant_id\tage\nsub-01\t30\nsub-01\t31\n')
    (tmp_path / 'participants.json').write_text('{"age": {"Units": "year"}, "x": 1}')
    rows, columns = participants_of(tmp_path)
    assert rows == {'01': {'participant_id': '01', 'age': '30'}}
    assert columns == {'age': {'Units': 'year'}}
    (tmp_path / 'participants.json').write_text('[')
    assert participants_of(tmp_path) == (rows, {})
