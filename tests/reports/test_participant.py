"""The participant page says what changed, what was kept and what was left out."""

import json

import pytest

from bidsharmony.reports.participant import write_participant_page
from tests.reports.pages import PAYLOADS, Page, faults
from tests.synthetic_runs import qc, write_run

REFUSED = [('sub-01/dwi/sub-01_acq-x_dwi.nii.gz', '5 b-values for 6 volumes')]
FAILED = [('sub-01/dwi/sub-01_acq-y_dwi.nii.gz', 'the fit did not end')]
SKIPPED = [('sub-01/dwi/sub-01_ADC.nii.gz', 'a map, not a series')]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """One participant with figures and two runs, and its page."""
    out_dir = tmp_path_factory.mktemp('out')
    files = [
        write_run(out_dir, qc('01', 'avanto', session='a'), 'avanto', n_slices=2),
        write_run(out_dir, qc('01', 'prisma', session='b'), 'prisma', figures=False),
    ]
    page = write_participant_page(
        out_dir, '01', files, SKIPPED, '1.2.3', refused=REFUSED, failed=FAILED
    )
    return out_dir, files, page


@pytest.fixture
def page_of(tmp_path):
    """Write the page of one document without figures and return its HTML."""

    def write(document: dict, **options) -> str:
        qc_file = tmp_path / 'x_qc.json'
        qc_file.write_text(json.dumps(document))
        return write_participant_page(tmp_path, '01', [qc_file], (), '1', **options).read_text()

    return write


def test_page_keeps_its_promises(finished):
    """Self-contained, no script, no address, alt text, relative links that lead somewhere."""
    out_dir, _, page = finished
    assert page.name == 'sub-01.html'
    assert faults(page.read_text(), out_dir) == []


def test_page_shows_what_a_reader_needs(finished):
    """Each statement of the page is there."""
    words = Page(finished[2].read_text()).words
    for text in (
        'Siemens Avanto 1.5 T', '3 at b = 0', '30 at b = 1000',
        'Diffusion contrast kept.', '1.13e-07 (limit 1e-06) over 164,050 voxels',
        'echo time 0.089 s', '2 mm, from the image header', 'RepetitionTime',
        'motion, eddy currents',
        '1 volume with b = 1.25 counted as b = 0', 'bidsharmony 1.2.3',
        *REFUSED[0], *SKIPPED[0], 'abstract of Wada', 'N4',
    ):  # fmt: skip
        assert text in words, text


@pytest.mark.parametrize(
    ('outcome', 'rows'), [('failed', FAILED), ('refused', REFUSED), ('skipped', SKIPPED)]
)
def test_what_is_left_out_has_its_outcome(finished, outcome, rows):
    """A crash is no refusal, and a map is neither."""
    (name, reason) = rows[0]
    assert f'{name} {outcome} {reason}' in Page(finished[2].read_text()).words


def test_before_and_after_are_toggled_without_script(finished):
    """Three radio buttons of one group per run with pictures; after is shown first."""
    buttons = Page(finished[2].read_text()).all('input')
    assert [attrs['id'] for attrs in buttons] == ['before-1', 'after-1', 'both-1']
    assert {attrs['name'] for attrs in buttons} == {'view-1'}
    assert [attrs['id'] for attrs in buttons if 'checked' in attrs] == ['after-1']


def test_each_picture_is_embedded_once(finished):
    """Three images before and after, three maps, shells, gradients, two charts."""
    pictures = Page(finished[2].read_text()).all('img')
    assert len(pictures) == 13
    assert len({attrs['src'] for attrs in pictures}) == 13


def test_every_picture_is_told_in_words_of_its_own(finished):
    """Which run, and what is seen: for those who hear the page."""
    alts = [attrs['alt'] for attrs in Page(finished[2].read_text()).all('img')]
    assert len(set(alts)) == len(alts)
    for alt in alts:
        assert alt.startswith('sub-01_ses-a_dir-AP'), alt
        assert len(alt.split()) >= 8, alt
    for text in ('median 1.08, 0.91 to 1.34', '30 at b = 1000', '% in the canonical band before'):
        assert any(text in alt for alt in alts), text


def test_a_label_for_each_button_and_a_rule_for_each_view(finished):
    """What is chosen is what is shown; on paper there is no choosing, so both are."""
    html = finished[2].read_text()
    page = Page(html)
    labels = [attrs['for'] for attrs in page.all('label')]
    assert labels == [attrs['id'] for attrs in page.all('input')]
    rules = ' '.join(html.split('<style>')[1].split('</style>')[0].split())
    assert '.views .shot { display: none; }' in rules
    for when in ('before', 'after'):
        shown = f'.show-{when}:checked ~ .views .shot.is-{when} {{ display: block; }}'
        assert shown in rules
        assert html.count(f'"shot is-{when}"') == 3
    assert '.views .shot { display: block !important; }' in rules.split('@media print')[1]
    # hidden from the eye, not from the keyboard
    assert '.switch > input { position: absolute; opacity: 0;' in rules
    assert '.switch > input:focus-visible + label { outline' in rules


def test_a_run_begins_with_what_changed(finished):
    """Six lines, and each leads to its place."""
    html = finished[2].read_text()
    words = Page(html).words
    for text in (
        'Contrast : 1.5 T, TE 89 ms → 3 T, TE 80 ms; gain 1.08 (90 % of the brain: 0.91 to 1.34).',
        'Resolution : 2.35 → 2 mm in plane, slices 2.2 → 4 mm; spectrum in the canonical band: ',
        'Shading : variation of b = 0 in the brain 0.31 → 0.22.',
        'Diffusion : Diffusion contrast kept. S_b/S_0 changed by 1.1e-07 at most.',
        'Lesions : no mask was given: compare trace and ADC below.',
        'Warnings : 1, see below.',
    ):
        assert text in words, text
    for place in ('maps', 'charts', 'guarantee', 'views', 'warnings'):
        assert f'href="#{place}-1"' in html
        assert f'id="{place}-1"' in html


def test_references_are_those_that_the_text_cites(finished):
    """Numbered as they come, linked, with the versions of the software."""
    html = finished[2].read_text()
    words = Page(html).words
    n = html.count('<li id="reference-')
    assert n == 6
    assert {f'#reference-{k}' for k in range(1, n + 1)} <= {
        attrs['href'] for attrs in Page(html).all('a')
    }
    assert '[2] Wada A, Akashi T, Hagiwara A, et al.' in words
    assert 'Software: bidsharmony 1.2.3, nipype ' in words
    assert 'Veraart' not in words


def test_run_without_pictures_says_so(finished):
    """A missing figure leaves its panel out, not a broken picture."""
    assert 'the run left no axial slice' in Page(finished[2].read_text()).words


def test_page_has_the_same_bytes_again(finished):
    """No date, no order of files, no path in it."""
    out_dir, files, page = finished
    content = page.read_bytes()
    write_participant_page(
        out_dir, '01', files[::-1], SKIPPED, '1.2.3', refused=REFUSED, failed=FAILED
    )
    assert page.read_bytes() == content
    assert str(out_dir) not in content.decode()


def test_page_of_a_trace_image_says_that_there_is_no_series(page_of, tmp_path):
    """And nothing about a series, its ratios or its directions."""
    document = qc(
        '01', 'avanto', no_series='the trace image has no gradient table', guarantee=None
    )
    document['summary'] |= {'n_directions': 0, 'trace_method': 'geometric'}
    document['input'] |= {'b0_image': 'bids:raw:sub-01/dwi/sub-01_dwi.nii.gz'}
    html = page_of(document)
    assert faults(html, tmp_path) == []
    words = Page(html).words
    for text in (
        'No series was made. The trace image has no gradient table.',
        "the scanner's own trace image at b = 1000",
        'tissue, fluid in the brain 81 %, 15 %',
    ):
        assert text in words, text
    for text in ('Diffusion contrast', 'stay what they were', 'directions'):
        assert text not in words, text


@pytest.mark.parametrize('payload', PAYLOADS)
def test_planted_markup_comes_out_as_text(page_of, tmp_path, payload):
    """Every displayed field may hold anything."""
    document = qc('01', 'avanto', run=payload, notes=[payload], warnings=[payload])
    document['scanner'] = dict.fromkeys(document['scanner'], payload)
    document['input'] |= {'orientation': payload, 'image': payload, 'shape': [payload]}
    document['sidecar'] = {'used': {'EchoTime': payload, payload: 1}, 'missing': [payload]}
    document['summary'] = dict.fromkeys(document['summary'], payload)
    document['bias']['note'] = document['network']['weights_sha256'] = payload
    for key in ('guarantee', 'denoising', 'b0_agreement'):
        document[key] = dict.fromkeys(document[key], payload)
    html = page_of(document, refused=[(payload, payload)])
    assert faults(html, tmp_path) == []
    assert ' '.join(payload.split()) in Page(html).words


def replaced(key: str, value) -> dict:
    """One document with one key replaced."""
    return qc('01', 'avanto') | {key: value}


@pytest.mark.parametrize('key', sorted(qc('01', 'avanto')))
@pytest.mark.parametrize('value', [None, {}, []])
def test_missing_parts_are_no_error(page_of, tmp_path, key, value):
    """A page comes out whatever a run could not measure."""
    assert faults(page_of(replaced(key, value)), tmp_path) == []


@pytest.mark.parametrize(
    ('guarantee', 'text'),
    [
        (None, 'contrast not kept.'),
        ({'max_ratio_change': 1.1e-7, 'n_voxels': 5, 'limit': 1e-6}, 'Diffusion contrast kept.'),
        ({'max_ratio_change': 2e-6, 'n_voxels': 5, 'limit': 1e-6}, 'contrast not kept.'),
        ({'max_ratio_change': None, 'n_voxels': 5, 'limit': 1e-6}, 'contrast not kept.'),
        ({'max_ratio_change': 1e-6, 'n_voxels': 5, 'limit': 1e-6}, 'contrast not kept.'),
    ],
)
def test_guarantee_is_judged(page_of, guarantee, text):
    """What was not shown to hold is not said to hold."""
    assert text in Page(page_of(replaced('guarantee', guarantee))).words


@pytest.mark.parametrize(
    ('bias', 'text'),
    [
        ({'applied': True}, 'estimated on the mean b = 0 image with N4'),
        ({'applied': False, 'note': 'one slice only'}, 'No receive field was corrected'),
    ],
)
def test_methods_state_what_was_done(page_of, bias, text):
    """The paragraph follows the runs."""
    assert text in Page(page_of(replaced('bias', bias))).words


@pytest.mark.parametrize(
    ('mppca', 'rician', 'steps'),
    [
        (False, False, ''),
        (True, False, 'MP-PCA denoising'),
        (False, True, 'Rician bias correction'),
        (True, True, 'MP-PCA denoising and Rician bias correction'),
    ],
)
def test_denoising_is_stated(page_of, mppca, rician, steps):
    """In the promise, which holds from there on, in the measurements and in the methods."""
    document = qc('01', 'avanto')
    document['denoising'] |= {'mppca': mppca, 'rician': rician}
    words = Page(page_of(document)).words
    assert f'denoising {steps or "none"}' in words
    assert ('Measured against the series after' in words) is bool(steps)
    if steps:
        assert f'Measured against the series after {steps}, which changes it.' in words
    assert ('denoised first with MP-PCA' in words) is mppca
    assert ('Rician bias of the magnitudes' in words) is rician
    assert 'b = 0 volumes apart by 0.31 mm, 3.4 %' in words


def test_resolution_and_slices_are_stated(page_of):
    """In the measurements, in the methods, and with what the network measured itself."""
    words = Page(page_of(qc('01', 'avanto'))).words
    for text in (
        'canonical resolution 2 mm FWHM, in plane',
        'canonical slice thickness 2.2 → 4 mm',
        'averaged along the slice axis towards a Gaussian slice profile of 4 mm',
        'at an in-plane resolution of 2 mm FWHM',
        'noise at b = 0 3.2 % of the tissue, measured on the image',
    ):
        assert text in words, text


def test_a_coarser_resolution_reaches_the_page(page_of):
    """What was asked for is what is written."""
    document = qc('01', 'avanto')
    document['network'] |= {'canonical_fwhm_mm': 3.5, 'canonical_profile_mm': None}
    words = Page(page_of(document)).words
    assert 'at an in-plane resolution of 3.5 mm FWHM' in words
    assert 'averaged along the slice axis' not in words


def test_nothing_left_out_is_said(page_of):
    """An empty section would leave doubt."""
    assert 'Every diffusion run found was harmonized.' in Page(page_of(qc('01', 'avanto'))).words


@pytest.mark.parametrize('subject', ['../x', '', 'a/b', 'a"b', '01\n'])
def test_labels_that_are_no_labels_are_refused(tmp_path, subject):
    """The label becomes a file name."""
    with pytest.raises(ValueError, match='letters and digits only'):
        write_participant_page(tmp_path, subject, [], (), '1')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', ['', '[1]', '{"run": '])
def test_damaged_qc_names_the_file(tmp_path, content):
    """One line: file, cause, remedy."""
    (tmp_path / 'x_qc.json').write_text(content)
    with pytest.raises(ValueError, match=r'x_qc\.json: not .* Run the participant again\.'):
        write_participant_page(tmp_path, '01', [tmp_path / 'x_qc.json'], (), '1')
