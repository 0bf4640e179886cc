"""Pages opened by a browser without a network: nothing is asked for, nothing is run."""

import html
import json
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from tests.browser import CHROMIUM
from tests.browser import FLAGS as QUIET
from tests.reports.pages import Page
from tests.security.payloads import PAYLOADS, as_shown, shown, skeleton
from tests.security.test_pages import (
    PAGES,
    participant_inputs,
    participant_page,
)

FLAGS = (*QUIET, '--host-resolver-rules=MAP * ~NOTFOUND')
OWN = ('file:', 'data:', 'about:', 'chrome:', 'chrome-untrusted:', 'devtools:', 'blob:')
"""Where a page may take something from without a network."""

BROWSERS = ('google.com', 'googleapis.com', 'gvt1.com')
"""Whom the browser itself asks for the time and for updates, whatever page it shows."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='needs chromium, to open the pages'),
]


def without_network() -> list[str]:
    """Give what is put before a command to have no network, where the system grants that."""
    call = [shutil.which('unshare') or '', '--net']
    try:
        tried = subprocess.run([*call, 'true'], capture_output=True, check=False)
    except OSError:
        return []
    return [] if tried.returncode else call


def opened(page, *, scripts: bool = True) -> tuple[str, list[str]]:
    """Give a page's document as the browser has it at last, and the addresses it asked for.

    Parameters
    ----------
    page : Path
    scripts : bool
        Whether the browser is set to run scripts.
    """
    profile, log = page.parent / f'profile {scripts}', page.parent / 'net.json'
    preferences = profile / 'Default' / 'Preferences'
    preferences.parent.mkdir(parents=True, exist_ok=True)
    setting = {'javascript': 1 if scripts else 2}
    preferences.write_text(
        json.dumps({'profile': {'default_content_setting_values': setting}}), encoding='utf-8'
    )
    done = subprocess.run(
        [
            *(*without_network(), CHROMIUM, *FLAGS, f'--user-data-dir={profile}'),
            *(f'--log-net-log={log}', '--dump-dom', page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, addresses(log.read_text())


def addresses(log: str) -> list[str]:
    """List the addresses of a network log that lead to another machine.

    The log is cut off where the browser ended.

    Examples
    --------
    >>> addresses('{"events": [{"params": {"url": "https://example.org/"}}, {"params": {}},')
    ['https://example.org/']
    """
    try:
        content = json.loads(log)
    except json.JSONDecodeError:
        content = json.loads(log.rstrip().rstrip(',') + ']}')
    found = {
        str((event.get('params') or {}).get('url') or 'about:') for event in content['events']
    }
    return sorted(
        url
        for url in found
        if not url.startswith(OWN) and not (urlsplit(url).hostname or '').endswith(BROWSERS)
    )


def title_of(dom: str) -> str:
    """Give the title of a document."""
    return html.unescape(re.search(r'<title>(.*?)</title>', dom, re.DOTALL)[1])


def all_at_once(inputs: dict) -> dict:
    """Plant every payload in the texts that a page lists."""
    payloads = list(PAYLOADS.values())
    if 'qc' in inputs:
        inputs['qc'] |= {'warnings': payloads, 'notes': payloads, 'run': payloads[0]}
        inputs['qc']['scanner']['label'] = payloads[3]
        inputs['refused'] = [[payload, payload] for payload in payloads]
    else:
        inputs['unused'] = [[payload, payload] for payload in payloads]
        inputs['audit']['not_run'] = [{'what': text, 'reason': text} for text in payloads]
        for row, payload in zip(inputs['scanners'], payloads, strict=False):
            row['scanner'] = payload
    return inputs


@pytest.mark.parametrize('name', PAGES)
def test_a_page_of_payloads_runs_nothing_and_asks_for_nothing(tmp_path, name):
    """Text is text to the browser too: same title, same elements, same without scripts."""
    make, write = PAGES[name]
    page = tmp_path / 'page.html'
    page.write_text(write(tmp_path, make()), encoding='utf-8')
    clean, asked = opened(page)
    assert asked == []
    page.write_text(write(tmp_path, all_at_once(make())), encoding='utf-8')
    dom, asked = opened(page)
    assert asked == []
    assert title_of(dom) == title_of(clean)
    assert skeleton(Page(dom)) <= skeleton(Page(clean))
    assert opened(page, scripts=False)[0] == dom
    assert [text for text in PAYLOADS.values() if as_shown(text) not in shown(Page(dom))] == []


def test_the_browser_would_run_and_ask_if_it_were_let(tmp_path):
    """The same checks on a page without any care: a script runs, an address is asked for."""
    page = tmp_path / 'page.html'
    page.write_text(
        '<title>x</title><script>document.title = "owned"</script>'
        '<img src="https://example.org/x.png">'
    )
    dom, asked = opened(page)
    assert title_of(dom) == 'owned'
    assert any('example.org' in url for url in asked)
    assert title_of(opened(page, scripts=False)[0]) == 'x'


def test_the_policy_holds_where_escaping_would_fail(tmp_path):
    """Markup that got into a page is not obeyed: no script, no style, no picture."""
    text = participant_page(tmp_path, participant_inputs())
    planted = (
        '<script>document.title = "owned"</script><img src="https://example.org/x.png" '
        'onerror="document.title = 1"><style>@import url(https://example.org/y.css)</style>'
    )
    page = tmp_path / 'page.html'
    page.write_text(text.replace('</h1>', f'</h1>{planted}', 1), encoding='utf-8')
    dom, asked = opened(page)
    assert 'example.org/x.png' in dom
    assert title_of(dom) == title_of(text)
    assert [url for url in asked if 'example.org' in url] == []
