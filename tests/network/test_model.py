"""The network's algebra with weights that are known."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from bidsharmony.network.model import (
    CONDITIONS,
    N_CONDITIONS,
    Harmonizer,
    band_limit,
    encode_metadata,
)


@pytest.fixture
def images():
    return smooth(torch.rand(2, 2, 32, 24, generator=torch.Generator().manual_seed(0)))


def smooth(images):
    """Leave what the canonical resolution can hold, which passes the network's limit unchanged."""
    for _ in range(12):
        padded = functional.pad(images, (1, 1, 1, 1), mode='replicate')
        images = functional.avg_pool2d(padded, 3, 1)
    return images


def limited(images):
    rows, columns = (band_limit(n) for n in images.shape[-2:])
    return rows @ images @ columns.T


def random_model(**switches) -> Harmonizer:
    model = Harmonizer((8, 8, 8), **switches)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def test_an_untrained_network_changes_nothing(images):
    output = Harmonizer()(images, torch.zeros(2, N_CONDITIONS))
    torch.testing.assert_close(output.images, images, rtol=0, atol=2e-3)
    assert not output.log_gain.any()
    torch.testing.assert_close(output.log_error, torch.full_like(images, -3.0))


def test_the_size_promised():
    assert sum(p.numel() for p in Harmonizer().parameters()) <= 2_000_000


def test_contrast_alone_is_one_gain_for_both_images(images):
    output = random_model(resolution=False)(images, torch.zeros(2, N_CONDITIONS))
    torch.testing.assert_close(output.images, limited(torch.exp(output.log_gain) * images))
    assert output.log_gain.std() > 0


def test_resolution_alone_is_the_residual(images):
    whole = random_model()(images, torch.zeros(2, N_CONDITIONS))
    alone = random_model(contrast=False)(images, torch.zeros(2, N_CONDITIONS))
    residual = whole.images - limited(torch.exp(whole.log_gain) * images)
    torch.testing.assert_close(alone.images - limited(images), residual, rtol=1e-3, atol=1e-3)


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


@pytest.mark.parametrize(
    ('cycles', 'kept'), [(0.05, 1.0), (0.25, 1.0), (0.28, 1.0), (0.37, 0.5), (0.47, 0.0)]
)
def test_what_the_canonical_resolution_cannot_hold_is_held_back(cycles, kept):
    """Half way between pass and stop half the amplitude is left."""
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(128))
    passed = (band_limit(128) @ wave)[30:98]
    assert passed.abs().max().item() == pytest.approx(kept, abs=0.03)


def test_the_limit_keeps_constants_up_to_the_edge():
    torch.testing.assert_close(band_limit(40) @ torch.ones(40), torch.ones(40))


def test_no_output_holds_finer_detail(images):
    noisy = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    out = random_model()(noisy, torch.zeros(2, N_CONDITIONS)).images
    power = torch.fft.rfft2(out[..., 4:28, 4:20] - out.mean()).abs() ** 2
    assert power[..., 12, -1].mean() < 1e-3 * power[..., 1:4, 1:4].mean()


def test_half_precision_leaves_no_grain(images):
    """The limit is computed in full, whatever the layers before it are."""
    with torch.autocast('cpu', torch.bfloat16):
        out = random_model()(images, torch.zeros(2, N_CONDITIONS)).images
    assert out.dtype == torch.float32


def test_a_point_is_as_wide_as_the_documents_say():
    """Full width at half maximum of a Gaussian of 2 mm on a grid of 1 mm, before and behind."""
    n, fine = 128, 32
    frequencies = np.fft.rfftfreq(n)
    gaussian = np.exp(-2 * (np.pi * frequencies * 2.0 / (2 * np.sqrt(2 * np.log(2)))) ** 2)
    point = np.zeros(n)
    point[n // 2] = 1
    limit = np.abs(np.fft.rfft(band_limit(n).numpy() @ point))
    for response, expected in ((gaussian, 2.03), (gaussian * limit, 2.22)):
        line = np.fft.fftshift(np.fft.irfft(response, n * fine))
        assert np.sum(line > line.max() / 2) / fine == pytest.approx(expected, abs=0.04)
