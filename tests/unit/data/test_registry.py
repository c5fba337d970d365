import subprocess
import sys

import pytest

from rollingq.data import registry
from rollingq.data.entries import DATASETS
from rollingq.errors import DataError


@pytest.mark.parametrize("name", DATASETS)
def test_entries_are_whole_and_their_sources_exist(name):
    entry = DATASETS[name]
    assert entry.name == name
    assert all((entry.title, entry.size, entry.licence, entry.where, entry.summary))
    assert entry.embedded or registry.source_of(name).name == name


def test_registry_and_preparation_need_no_torch():
    sources = [entry.source.partition(":")[0] for entry in DATASETS.values() if entry.source]
    modules = ["rollingq.data.registry", "rollingq.data.prepare.engine", "rollingq.data.shards", *sources]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "av_digit",
            {},
            "but got 'av_digit'. Did you mean 'av_digits'?",
        ),
        ("av_digits", {"modalities": ["audoi"]}, "but got 'audoi'. Did you mean 'audio'?"),
        ("av_digits", {"modalities": []}, "Expected one or more different modalities of av_digits, but got []"),
        ("av_digits", {"modalities": ["audio", "audio"]}, "each at most once"),
        ("utd_mhad", {}, "rollingq data prepare utd_mhad --root RAW --out DIR"),
        ("utd_mhad", {"dir": "nowhere"}, "Expected a prepared utd_mhad folder, but got no readable nowhere"),
    ],
)
def test_load_refuses_in_one_clear_line(name, options, text):
    with pytest.raises(DataError) as caught:
        registry.load(name, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_embedded_dataset_needs_no_preparation(tmp_path):
    with pytest.raises(DataError, match="embedded in the package"):
        registry.prepare("av_digits", root=tmp_path, out=tmp_path / "out")


def test_a_modality_may_be_named_alone_and_the_order_is_kept():
    assert list(registry.load("av_digits", modalities="audio").modalities) == ["audio"]
    data = registry.load("av_digits", modalities=["image", "audio"])
    assert list(data.modalities) == list(data.splits["val"].inputs) == ["image", "audio"]


def test_check_of_the_embedded_dataset_is_sound():
    report = registry.check("av_digits")
    assert report.problems == ()
    assert {shard.file: shard.shapes["audio"][0] for shard in report.shards} == {
        "train.safetensors": 1024,
        "val.safetensors": 350,
        "test.safetensors": 500,
    }


def test_prepare_check_load_through_the_registry(raw, tmp_path):
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    summary = registry.prepare(
        "utd_mhad", root=str(raw), out=str(out), workers=1, on_progress=lambda *done: seen.append(done)
    )
    assert seen == [(number, 6) for number in range(1, 7)]
    assert summary.total == 6
    assert registry.check("utd_mhad", dir=out).problems == ()
    assert len(registry.load("utd_mhad", dir=str(out)).splits["train"]) == 2
