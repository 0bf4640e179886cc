"""Networks run where they were asked to, or it is said why not."""

import pytest
import torch

from bidsharmony.network.device import find_device


@pytest.mark.parametrize(
    ('asked', 'card', 'found'),
    [('cpu', True, 'cpu'), ('auto', True, 'cuda'), ('auto', False, 'cpu'), ('cuda', True, 'cuda')],
)
def test_a_card_is_used_where_it_is_wanted_and_there(monkeypatch, asked, card, found):
    """The processor is the choice of who asks for nothing else."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: card)
    assert find_device(asked) == found


def test_a_card_that_is_not_there_is_no_card(monkeypatch):
    """Nobody finds out from the clock that a processor was used in its place."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match=r'^--device cuda: torch .*Give cpu or auto'):
        find_device('cuda')
