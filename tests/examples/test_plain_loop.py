"""The example in one plain loop runs, rotates once, and turns exactly as the attachment would."""

import sys
from pathlib import Path

import pytest
import torch

import rollingq

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def plain_loop(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "plain_loop", raising=False)
    import plain_loop

    return plain_loop


def test_trains_and_rotates_once(plain_loop, monkeypatch, capsys) -> None:
    monkeypatch.setattr(plain_loop, "EPOCHS", 2)
    history = plain_loop.main()
    assert len(history) == 2
    assert abs(history[0]) >= plain_loop.BETA
    assert "rotations 1" in capsys.readouterr().out


def test_is_what_the_attachment_does(plain_loop) -> None:
    torch.manual_seed(0)
    fusion = plain_loop.Fusion(4)
    audio, image = torch.randn(16, 5, plain_loop.DIM), torch.randn(16, 3, plain_loop.DIM)
    tokens = {"audio": 5, "image": 3}
    att = rollingq.attach(fusion, "", tokens=tokens, rho=plain_loop.RHO, beta=0.0, statistics="last_batch")
    _, query, keys = fusion(audio, image)
    event = att.step()
    attached, _, _ = fusion(audio, image)
    att.detach()
    fusion.rotation = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_loop, "BETA", 0.0)
        assert plain_loop.rotate(fusion, query.detach(), keys.detach()) == pytest.approx(event.air, abs=1e-6)
    torch.testing.assert_close(fusion(audio, image)[0], attached, atol=1e-6, rtol=1e-5)


def test_is_short() -> None:
    assert len((EXAMPLES / "plain_loop.py").read_text().splitlines()) <= 120
