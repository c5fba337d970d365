"""README and docs: their code runs, their figures come from the stored results, the first code stands early."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_figures_are_those_of_the_stored_results() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/fill_numbers.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_first_library_code_by_line_20() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()[:20]
    assert any(line.startswith("att = rollingq.attach(") for line in lines)
    assert sum(line.startswith(("make demo", "make test")) for line in lines) == 2


@pytest.mark.parametrize("page", ["quickstart.md", "datasets.md"])
def test_code_of_a_page_runs(page: str) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / page).read_text())
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})


def test_readme_code_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    import rollingq
    from rollingq.config import EncoderConfig
    from rollingq.nn.registry import build_model

    model = build_model("mt", {"audio": (176, 2), "visual": (196, 2)}, 3, EncoderConfig(dim=8, num_layers=1))
    batch = {"audio": torch.randn(6, 176, 2), "visual": torch.randn(6, 196, 2), "label": torch.arange(6) % 3}

    def train_one_epoch(model: torch.nn.Module) -> None:
        model(batch)

    loop, diagnosis = BLOCK.findall((ROOT / "README.md").read_text())
    names = {"model": model, "train_one_epoch": train_one_epoch, "test_loader": [batch], "rollingq": rollingq}
    monkeypatch.chdir(tmp_path)
    for block in (loop, diagnosis):
        exec(compile(block, "README.md", "exec"), names)
    assert len(names["att"].history) == 30  # type: ignore[attr-defined]
    assert (tmp_path / "out" / "report.html").is_file()
