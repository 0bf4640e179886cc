"""The group level finds a scanner that was planted, and says what it cannot tell."""

import json
from functools import partial
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from bidsharmony.audit import control, document
from bidsharmony.audit.forest_probe import forest_probe
from bidsharmony.audit.scores import Probe
from bidsharmony.cli import group
from bidsharmony.cli.group import run_group
from bidsharmony.evaluation import finished
from bidsharmony.settings import Settings
from tests.planted_study import planted_study
from tests.synthetic_runs import lesions

SCHEMA = json.loads(files('bidsharmony.data').joinpath('batcheffects.schema.json').read_text())
NAME = 'group_batcheffects.json'


@pytest.fixture(scope='module', autouse=True)
def small_forests():
    """Grow fewer trees: what is planted is large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, 'forest_probe', partial(forest_probe, trees=40))
        patch.setattr(control, 'TREES', 10)
        patch.setattr(control, 'SPLITS', 4)
        yield


def audit(out_dir, **options) -> dict:
    """Run the group level and read what it wrote, which the schema must allow."""
    settings = Settings(
        bids_dir=out_dir.parent,
        output_dir=out_dir,
        analysis_levels=('group',),
        **{'audit': 'quick', **options},
    )
    assert run_group(settings) == 0
    found = json.loads((out_dir / NAME).read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(found, SCHEMA)
    return found


def reasons(found: dict) -> dict[str, str]:
    """Return what could not run, and why."""
    return {entry['what']: entry['reason'] for entry in found['not_run']}


@pytest.fixture(scope='module')
def travelling(tmp_path_factory):
    """Ten heads on two scanners, harmonized without a rest; ages and sites in a table."""
    folder = tmp_path_factory.mktemp('study')
    out_dir = folder / 'derivatives'
    out_dir.mkdir()
    planted_study(out_dir, scanners=2, subjects=10, n_slices=2, atrophy=True, lesions=lesions(2))
    lines = ['participant_id\tage\tsite', *(f'sub-{i + 1:02d}\t{40 + i}\tX' for i in range(10))]
    (folder / 'participants.tsv').write_text('\n'.join([*lines, '']))
    return out_dir


@pytest.fixture(scope='module')
def found(travelling):
    """Return the audit of that study."""
    return audit(travelling)


def test_planted_scanner_is_found_before_and_gone_after(found):
    """Named on nine of ten slices before; by the retrained forest about as chance would after."""
    forest = found['scanner_id']['forest']
    assert found['chance'] == 0.5
    assert forest['frozen']['before']['accuracy'] >= 0.9
    assert forest['retrained']['after']['accuracy'] <= 0.75
    assert forest['permutation_p']['retrained'] <= 0.05
    assert forest['mcnemar_p']['retrained'] <= 0.05
    assert found['embedding']['silhouette']['before'] > found['embedding']['silhouette']['after']
    assert found['texture']['eta2']['before'] > 5 * found['texture']['eta2']['after']
    distance = found['frequency']['log_spectral_distance_db']
    assert distance['before'] > 5 * distance['after']
    assert not [entry for entry in found['not_counted'] if entry['what'] == 'scanner_id.forest']


def test_the_rest_of_the_audit_is_there(found):
    """Counts, lesions, a covariate that is as readable as before, and the control."""
    assert (found['n_runs'], found['n_subjects'], found['n_scanners']) == (20, 10, 2)
    assert (found['n_sampled_runs'], found['n_slices']) == (20, 40)
    assert found['lesions']['n_lesions'] == 40
    (age,) = found['covariates']
    assert (age['name'], age['kept'], age['n_subjects']) == ('age', True, 10)
    assert age['before'] > 0.8
    assert found['negative_control']['n_slices'] == 20
    assert found['negative_control']['passes'] is True
    assert reasons(found).keys() == {
        'scanner_id (deep network)',
        'autoencoder',
        'covariates: site',
    }


def test_same_bytes_again_and_in_another_order(travelling, found, monkeypatch):
    """Nothing of the moment, and nothing of the order of runs."""
    before = (travelling / NAME).read_bytes()
    audit(travelling)
    assert (travelling / NAME).read_bytes() == before
    forwards = finished.read_runs
    monkeypatch.setattr(finished, 'read_runs', lambda root: iter([*forwards(root)][::-1]))
    audit(travelling, nprocs=2)
    assert (travelling / NAME).read_bytes() == before


def test_the_seed_is_that_of_the_audit(travelling, found):
    """Another one draws other intervals of the same study, and stands in the file."""
    other = audit(travelling, random_seed=1)
    assert (found['seed'], other['seed']) == (0, 1)
    assert other['scanner_id'] != found['scanner_id']
    assert found['texture'] == other['texture']
    assert audit(travelling) == found


def test_no_audit_is_counts_only(travelling, monkeypatch):
    """No archive is read beyond those that the page shows."""
    monkeypatch.setattr('bidsharmony.audit.sample.read_slices', None)
    found = audit(travelling, audit='none')
    assert found['n_runs'] == 20
    assert reasons(found) == {'audit': 'left out by --audit none'}
    assert 'scanner_id' not in found


def test_grouping_by_a_table(travelling):
    """One site for both scanners: nothing to tell apart. Who has no row is left out."""
    table = travelling.parent / 'sites.tsv'
    table.write_text(
        '\n'.join(['participant_id\tplace', *(f'sub-{i:02d}\tRome' for i in range(2, 11))])
    )
    found = audit(travelling, scanner_from=(table, 'place'))
    assert found['grouping']['rule'] == 'column place of sites.tsv'
    (scanner,) = found['grouping']['scanners']
    assert scanner['scanner'] == 'Rome'
    assert scanner['names'] == ['Maker Model0 3 T', 'Maker Model1 3 T']
    assert (scanner['n_runs'], scanner['n_subjects']) == (18, 9)
    said = reasons(found)
    assert said['runs'] == '2 have no scanner in column place of sites.tsv'
    assert said['texture'] == said['frequency'] == 'only one scanner'
    assert 'only one scanner has 3 subjects' in said['scanner_id']
    assert (found['chance'], found['scanner_id']) == (None, None)
    assert found['negative_control']['scanner'] == 'Rome'


def test_grouping_by_software(travelling):
    """The version becomes part of the name."""
    found = audit(travelling, scanner_software=True, audit='none')
    assert [one['scanner'] for one in found['grouping']['scanners']] == [
        'Maker Model0 3 T, software V0',
        'Maker Model1 3 T, software V1',
    ]


def test_no_scanner_is_found_where_there_is_none(tmp_path):
    """Scanners that scan alike: about chance, and the probe does not count."""
    planted_study(tmp_path, scanners=2, subjects=8, n_slices=2, effect=0.0)
    found = audit(tmp_path)
    before = found['scanner_id']['forest']['frozen']['before']
    assert before['accuracy'] <= 0.75
    assert [entry['what'] for entry in found['not_counted']] == ['scanner_id.forest']


def test_confounding_is_told(tmp_path):
    """Nobody was on two scanners, all patients on one; the third scanner has two subjects."""
    out_dir = tmp_path / 'derivatives'
    out_dir.mkdir()
    planted_study(out_dir, scanners=2, subjects=6, n_slices=1, travelling=False)
    rows = [f'sub-{i + 1:02d}\t{"patient" if i < 6 else "control"}' for i in range(12)]
    (tmp_path / 'participants.tsv').write_text('\n'.join(['participant_id\tgroup', *rows]))
    table = tmp_path / 'rooms.tsv'
    rooms = ['a'] * 6 + ['b'] * 4 + ['c'] * 2
    table.write_text(
        '\n'.join(
            ['participant_id\troom', *(f'sub-{i + 1:02d}\t{r}' for i, r in enumerate(rooms))]
        )
    )
    said = reasons(audit(out_dir))
    assert 'no subject was on two scanners' in said['scanners apart from people']
    assert 'fully confounded with the scanner' in said['covariates: group']
    said = reasons(audit(out_dir, scanner_from=(table, 'room')))
    assert said['scanner c'] == 'left out: 2 subjects, at least 3 are needed'


def test_deep_results_take_their_places(tmp_path, monkeypatch):
    """A deep probe gives the scores beside the forest's and the features of the embedding."""
    planted_study(tmp_path, scanners=2, subjects=3, n_slices=1)
    seen = {}

    def deep(sample):
        found = forest_probe(
            sample, *np.random.default_rng(0).normal(size=(2, len(sample), 4)), trees=5
        )
        return Probe('a network', found.before, found.frozen, found.retrained,
                     found.features_before, found.features_after, 'its last layer')  # fmt: skip

    def curves(sample):
        seen['slices'] = len(sample)
        return 'it did not converge'

    monkeypatch.setattr(group, '_deep_probe', lambda settings, stages, sample: deep(sample))
    monkeypatch.setattr(group, '_autoencoder', lambda settings, stages, sample: curves(sample))
    found = audit(tmp_path, audit='full')
    assert found['scanner_id']['model'] == 'a network'
    assert found['scanner_id']['retrained']['after']['n_slices'] == seen['slices'] == 6
    assert found['embedding']['features'] == 'its last layer'
    assert reasons(found)['autoencoder'] == 'it did not converge'
    assert 'scanner_id (deep network)' not in reasons(found)
    assert {entry['what'] for entry in found['not_counted']} == {'scanner_id'}
    found = audit(tmp_path, audit='standard')
    assert reasons(found)['autoencoder'] == 'left out by --audit standard'
    found = audit(tmp_path, audit='quick')
    assert 'model' not in found['scanner_id']
    assert reasons(found)['autoencoder'] == 'left out by --audit quick'
