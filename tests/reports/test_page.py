"""Pages are escaped, self-contained and written whole or not at all."""

import base64
import hashlib
import re

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from bidsharmony.reports.facts import DISPLAYED_KEYS, missing_facts, used_facts
from bidsharmony.reports.page import (
    PNG_SIGNATURE,
    atomic_text,
    data_uri,
    embed,
    environment,
    number,
    render,
    write_atomic,
)
from tests.reports.pages import PAYLOADS

PRIVATE = {
    'PatientName': 'Doe^Jane',
    'DeviceSerialNumber': '40917',
    'InstitutionName': 'General Hospital',
    'InstitutionAddress': 'Main Street 1',
    'AcquisitionTime': '10:11:12',
    'AcquisitionDateTime': '2019-03-04T10:11:12',
    'StationName': 'MR1',
    'ProtocolName': 'Doe_protocol',
    'PatientBirthDate': '19700101',
}


@pytest.mark.parametrize('payload', PAYLOADS)
def test_values_are_escaped(payload):
    """No payload leaves the text it is in."""
    shown = environment().from_string('<p title="{{ x }}">{{ x }}</p>').render(x=payload)
    assert shown.count('<') == 2
    assert shown.count('>') == 2
    assert shown.count('"') == 2


def test_a_forgotten_value_is_an_error():
    """A template cannot show nothing where a value belongs."""
    with pytest.raises(UndefinedError):
        environment().from_string('{{ absent }}').render()


@pytest.mark.parametrize('name', ['../page.css', '/etc/passwd', 'x.py', 'absent.html'])
def test_only_our_templates_are_read(name):
    """A template name cannot lead out of the folder."""
    with pytest.raises((TemplateNotFound, FileNotFoundError)):
        environment().get_template(name)


def test_policy_allows_exactly_our_style_sheet():
    """The hash in the policy is that of the style element, so nothing else is applied."""
    html = render('base.html', version='1')
    style = re.search(r'<style>(.*?)</style>', html, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f'sha256-{digest}' in html.replace('&#43;', '+')
    assert 'unsafe-inline' not in html
    assert not re.search(r'https?:|url\(|@import', style)


@pytest.mark.parametrize('content', [b'', b'<svg onload=alert(1)>', b'GIF89a'])
def test_only_png_is_embedded(tmp_path, content):
    """A file that merely calls itself PNG is left out."""
    (tmp_path / 'x.png').write_bytes(content)
    assert embed(tmp_path / 'x.png') is None
    with pytest.raises(ValueError, match='not a PNG'):
        data_uri(content)


def test_png_is_embedded(tmp_path):
    """The bytes are in the page as they were."""
    (tmp_path / 'x.png').write_bytes(PNG_SIGNATURE + b'abc')
    assert base64.b64decode(embed(tmp_path / 'x.png').split(',')[1]) == PNG_SIGNATURE + b'abc'


def test_interrupted_write_leaves_the_old_file(tmp_path):
    """A page is replaced whole or not at all, and no draft stays behind."""
    page = write_atomic(tmp_path / 'a.html', 'old')

    def interrupted():
        with atomic_text(page) as stream:
            stream.write('half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert page.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['a.html']


def test_pages_can_be_read_by_others(tmp_path):
    """A draft is private, the page is not."""
    assert write_atomic(tmp_path / 'a.html', 'x').stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0, '0'), (12345.6, '12346'), (-0.5, '-0.5'), (float('nan'), 'n/a'), (True, 'n/a'),
     ('<b>', 'n/a'), ([1], 'n/a'), (1e-7, '1e-07'), (float('inf'), 'inf')],
)  # fmt: skip
def test_numbers(value, text):
    """Anything but a number is n/a."""
    assert number(value) == text


def test_private_keys_are_not_displayed():
    """Who, where and when stay out, as does text in a numeric field."""
    assert used_facts(PRIVATE) == []
    assert missing_facts(list(PRIVATE)) == []
    assert used_facts(dict.fromkeys(DISPLAYED_KEYS, 'Doe^Jane')) == []
