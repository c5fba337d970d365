"""What decides whether a finished run is kept or done again."""

from dataclasses import replace
from pathlib import Path

from rollingq.config import EncoderConfig
from rollingq.data.base import MultimodalData
from rollingq.training.grid import Job, Source, run_grid
from rollingq.training.methods import parse_methods
from rollingq.training.settings import Settings, TrainSettings


def test_other_weights_at_the_same_path_are_another_start(data: MultimodalData, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    encoder = EncoderConfig(dim=8, num_layers=1, num_heads=2, pretrained=str(weights))
    settings = Settings(train=TrainSettings(epochs=1, batch_size=8), encoder=encoder)
    jobs = [Job(method, 0) for method in parse_methods(["concat"], list(data.modalities))]
    was_kept: list[bool] = []

    def run(given: Settings) -> None:
        run_grid(
            jobs,
            Source("tiny", None, None),
            data,
            given,
            tmp_path / "out",
            workers=0,
            on_epoch=lambda *_: None,
            on_done=lambda job, result, is_kept: was_kept.append(is_kept),
        )

    for content in (b"first", b"first", b"second"):
        weights.write_bytes(content)
        run(settings)
    run(replace(settings, encoder=replace(encoder, pretrained=None)))
    assert was_kept == [False, True, False, False]
