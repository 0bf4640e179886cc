"""The network's algebra with weights that are known."""

import numpy as np
import pytest
import torch

from bidsharmony.network.model import CONDITIONS, N_CONDITIONS, Harmonizer, encode_metadata


@pytest.fixture
def images():
    return torch.rand(2, 2, 32, 24, generator=torch.Generator().manual_seed(0))


def random_model(**switches) -> Harmonizer:
    model = Harmonizer((8, 8, 8), **switches)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def test_an_untrained_network_changes_nothing(images):
    output = Harmonizer()(images, torch.zeros(2, N_CONDITIONS))
    torch.testing.assert_close(output.images, images)
    assert not output.log_gain.any()
    torch.testing.assert_close(output.log_error, torch.full_like(images, -3.0))


def test_the_size_promised():
    assert sum(p.numel() for p in Harmonizer().parameters()) <= 2_000_000


def test_contrast_alone_is_one_gain_for_both_images(images):
    output = random_model(resolution=False)(images, torch.zeros(2, N_CONDITIONS))
    torch.testing.assert_close(output.images, torch.exp(output.log_gain) * images)
    assert output.log_gain.std() > 0


def test_resolution_alone_is_the_residual(images):
    whole = random_model()(images, torch.zeros(2, N_CONDITIONS))
    alone = random_model(contrast=False)(images, torch.zeros(2, N_CONDITIONS))
    residual = whole.images - torch.exp(whole.log_gain) * images
    torch.testing.assert_close(alone.images - images, residual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('i', range(len(CONDITIONS)))
def test_every_fact_matters(images, i):
    key, centre, spread = CONDITIONS[i]
    model = random_model()
    outputs = [
        model(images, encode_metadata(facts).expand(2, -1)).images
        for facts in ({}, {key: centre}, {key: centre + spread})
    ]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize(
    'value', [None, 'fast', [3], float('nan'), float('inf'), True, 1e30, -1e30]
)
def test_what_is_no_plausible_number_is_missing(value):
    encoded = encode_metadata({'EchoTime': value})
    torch.testing.assert_close(encoded, encode_metadata({}))


def test_a_slip_of_the_unit_stays_in_range():
    encoded = encode_metadata({'EchoTime': 80.0 / 1000 * 3})  # s
    assert encoded.abs().max() <= 4


def test_condition_is_standardised():
    facts = {key: centre + spread for key, centre, spread in CONDITIONS}
    np.testing.assert_allclose(
        encode_metadata(facts).numpy(), np.repeat([1, 0], len(CONDITIONS)), rtol=1e-5
    )
