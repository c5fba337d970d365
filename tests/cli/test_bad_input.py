"""Bad input: one line with what was expected, what was found and what to do; exit code 2; nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

CASES = {
    "unknown command": (["comprae"], "Did you mean 'compare'"),
    "unknown flag": (["compare", "--epcohs", "3"], "Did you mean '--epochs'"),
    "flag without value": (["compare", "--seeds"], "--seeds"),
    "stray word": (["compare", "audio"], "audio"),
    "wrong type": (["compare", "--seeds", "many"], "many"),
    "no seeds": (["compare", "--seeds", "0"], "at least 1"),
    "no epochs": (["compare", "--epochs", "0"], "epochs >= 1"),
    "unknown dataset": (["compare", "--data", "av_digit"], "Did you mean 'av_digits'"),
    "unknown modality": (["compare", "--modalities", "audio,imgae"], "Did you mean 'image'"),
    "one modality": (["compare", "--modalities", "audio", "--methods", "mt"], "at least two modalities"),
    "unknown method": (["compare", "--methods", "mtt"], "Did you mean 'mt'"),
    "unknown balancing": (["compare", "--methods", "mt+rolingq"], "Did you mean 'rollingq'"),
    "nothing to rotate": (["compare", "--methods", "concat+rollingq"], "fusion with attention"),
    "no methods": (["compare", "--methods", ","], "at least one method"),
    "rho": (["compare", "--rollingq.rho", "0"], "rho to be a number > 0"),
    "beta": (["compare", "--rollingq.beta", "2.5"], "beta to be a number in [0, 2]"),
    "optimizer": (["compare", "--train.optimizer", "adam"], "'sgd', 'adamw'"),
    "nothing pretrained": (["compare", "--pretrained"], "an encoder of timm for --pretrained"),
    "tokens for an image encoder": (["compare", "--encoder.name", "vit"], "choose --encoder.name sequence"),
    "no such block": (["compare", "--methods", "joint:5"], "joint:N with N from 2 to encoder.num_layers=2"),
    "streams": (["compare", "--methods", "mult+rollingq", "--rollingq.scope", "all_queries"], "scope query"),
    "heads": (["compare", "--encoder.dim", "10"], "num_heads=4 divides"),
    "reading": (["compare", "--fusion.mult.memory", "jiont"], "one of 'streams', 'joint'"),
    "phases": (["compare", "--fusion.mt_star.phases", "[0, 3]"], "phases to be whole numbers >= 1"),
    "alpha": (["compare", "--balancing.ogm.alpha", "-1"], "alpha to be a number > 0"),
    "missing configuration": (["compare", "--config", "no.yaml"], "no.yaml"),
    "missing prepared folder": (["compare", "--data", "utd_mhad", "--dir", "nowhere"], "nowhere"),
    "not prepared": (["compare", "--data", "utd_mhad"], "rollingq data prepare utd_mhad"),
    "missing raw folder": (["data", "prepare", "utd_mhad", "--root", "nowhere", "--out", "out"], "nowhere"),
    "embedded needs no preparing": (["data", "prepare", "av_digits", "--root", ".", "--out", "out"], "embedded"),
    "unknown action": (["data", "prepar"], "Did you mean 'prepare'"),
    "nothing to report": (["report", "--out", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_line(
    name: str, main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = CASES[name]
    assert main_in(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: Expected")
    assert err.count("\n") == 1
    assert expected in err
    assert list(tmp_path.iterdir()) == []


def test_damaged_configuration(main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("bad.yaml").write_text("train: {epochs: [")
    assert main_in("compare", "--config", "bad.yaml") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_unwritable_out(main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("file").write_text("in the way")
    assert main_in("compare", "--out", "file/inside") == 2
    assert "give another --out" in capsys.readouterr().err
    assert tmp_path.joinpath("file").read_text() == "in the way"
