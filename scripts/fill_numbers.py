"""Copy figures from benchmarks/results into README and docs, between ``<!-- filled: NAME -->`` and ``<!-- end -->``.

Run: python scripts/fill_numbers.py [--check]
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- filled: (?P<name>[\w.-]+) -->)(?P<text>.*?)(<!-- end -->)", re.DOTALL)


def read(name: str) -> dict[str, Any]:
    """Return the stored result of one benchmark."""
    loaded: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return loaded


def percent(value: float) -> str:
    """Return a fraction as per cent with one decimal."""
    return f"{100 * value:.1f}"


def by_modality(values: dict[str, float] | None, form: str) -> str:
    """Return "audio 93, image 5", or a dash where there is nothing."""
    return ", ".join(f"{name} {format(value, form)}" for name, value in values.items()) if values else "–"


def comparison_table(name: str) -> str:
    """Return a comparison's summaries as a Markdown table."""
    rows = [
        "| method | accuracy, mean ± sd (%) | attention (%) | AIR | rotations | r with noise | probes (%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in read(name)["summaries"]:
        attention = {k: 100 * v for k, v in (row["attention_score"] or {}).items()}
        probes = {k: 100 * v for k, v in row["probes"].items()}
        accuracy = f"{percent(row['accuracy']['mean'])} ± {percent(row['accuracy']['std'])}"
        air = "–" if row["air"] is None else f"{row['air']:+.2f}"
        rotations = "–" if row["air"] is None else f"{row['num_rotations']:.1f}"
        cells = (accuracy, by_modality(attention, ".0f"), air, rotations, by_modality(row["correlation"], "+.2f"))
        rows.append(f"| {row['method']} | {' | '.join(cells)} | {by_modality(probes, '.0f')} |")
    return "\n".join(["", *rows, ""])


def p_value(p: float) -> str:
    """Return "p = 0.81", or "p < 0.01"."""
    return "p < 0.01" if p < 0.01 else f"p = {p:.2f}"


def difference_lines(name: str) -> str:
    """Return the paired differences of a comparison as a list."""
    lines = []
    for d in read(name)["differences"]:
        mean, low, high = (f"{100 * d['accuracy'][key]:+.1f}" for key in ("mean", "low", "high"))
        pair = f"{d['method']} against {d['baseline']}"
        lines.append(f"- {pair}: {mean} points [{low}, {high}], {p_value(d['p'])}: **{d['verdict']}**")
    return "\n".join(["", *lines, ""])


def verdict(name: str, *topics: str) -> str:
    """Return the headline of the report's verdict and what it says of the topics, as a quotation."""
    headline, *findings = read(name)["verdict"]
    lines = [headline, *(line for line in findings if line.startswith(topics))]
    return "\n" + "\n>\n".join(f"> {line}" for line in lines) + "\n"


def fusion_speed() -> str:
    """Return how much faster the absorbed fusion layer is."""
    return f"{read('fusion')['ratio_median']:.0f}"


def overhead() -> str:
    """Return what collecting statistics costs a step, in per cent."""
    return f"{max(0.0, 100 * (read('overhead')['collecting']['ratio_median'] - 1)):.1f}"


def demo_minutes() -> str:
    """Return the demo's wall time in minutes."""
    return f"{read('demo')['seconds'] / 60:.1f}"


def demo_memory() -> str:
    """Return the demo's peak memory in gigabytes."""
    return f"{read('demo')['peak_memory_bytes'] / 1e9:.1f}"


def search_choice(name: str) -> str:
    """Return what a search chose, in one line."""
    chosen = read(name)["chosen"]
    train, rotation = chosen["train"], chosen["rollingq"]
    return (
        f"{train['optimizer']}, learning rate {train['learning_rate']:.2g}, {train['warmup_epochs']:g} epochs of "
        f"warm-up; rho = {rotation['rho']:g}, beta = {rotation['beta']:g}, at most {rotation['max_rotations']} "
        f"rotations, from epoch {rotation['first_epoch']}"
    )


def complexity_table() -> str:
    """Return the counts beside the paper's Table 4."""
    rows = [
        "| method | parameters, M (paper) | GMACs of 128 samples (paper) | all parameters, M | true GFLOPs a sample |",
        "|---|---|---|---|---|",
    ]
    for row in read("complexity")["rows"]:
        paper = row["paper"]
        counted = f"{row['thop_parameters'] / 1e6:.2f} ({paper['parameters']:.2f})"
        macs = f"{row['thop_macs'] / 1e9:.2f} ({paper['macs']:.2f})"
        true = f"{row['parameters'] / 1e6:.2f} | {row['flops'] / 1e9:.2f}"
        rows.append(f"| {row['title']} | {counted} | {macs} | {true} |")
    return "\n".join(["", *rows, ""])


def step_speed() -> str:
    """Return how much faster a step is than the straightforward form, with quartiles."""
    low, high = read("step")["ratio_quartiles"]
    return f"{read('step')['ratio_median']:.2f} (quartiles {low:.2f} to {high:.2f})"


def prepare_facts() -> str:
    """Return how fast preparing and reading are, and what memory they need, in one paragraph."""
    found, decoded = read("prepare"), read("decode")
    few, many = found["av_mnist_by_size"][0], found["av_mnist"]
    return (
        f"\nOn 2 cores: the 861 recordings of UTD-MHAD take {sorted(found['utd_mhad']['seconds'])[1]:.0f} s, the "
        f"{many['pairs']:,} pairs of AV-MNIST {many['seconds']:.0f} s. Peak memory of command and workers together: "
        f"{few['peak_mib']:.0f} MiB for {few['pairs']:,} pairs, {many['peak_mib']:.0f} MiB for {many['pairs']:,}. "
        f"Video: {decoded['small']['our_clips_per_second']:.0f} clips of 5 s (340x256) a second and core, frames, "
        f"sound and spectrogram, {decoded['small']['ratio_median']:.2f} of the speed of PyAV's bare decoding. "
        f"Training reads {found['reading_av_mnist']['samples_per_second']:,.0f} shuffled samples of AV-MNIST a "
        "second.\n"
    )


def diagnose_facts() -> str:
    """Return how long diagnosing takes and how large its page is, in one paragraph."""
    found = read("diagnose")
    full, part = found["all_known"], found["left_out"]
    return (
        f"\nOn 2 cores the whole command, report and figures included, takes {full['seconds_median']:.0f} s for the "
        f"{full['num_samples']} test samples of UTD-MHAD ({full['num_passes']} passes), and "
        f"{part['seconds_median']:.0f} s with 20 classes known and the {part['num_outside']} samples of the other 7 to "
        f"detect. The page has {full['page_bytes'] / 1e6:.1f} MB.\n"
    )


def recorder_cost() -> str:
    """Return what recording attention and gradient norms costs a training step, in per cent."""
    return f"{max(0.0, 100 * (read('recorder')['demo']['ratio_median'] - 1)):.1f}"


FILLS: dict[str, Callable[[], str]] = {
    "prepare.facts": prepare_facts,
    "diagnose.facts": diagnose_facts,
    "recorder.cost": recorder_cost,
    "demo.table": lambda: comparison_table("demo"),
    "demo.differences": lambda: difference_lines("demo"),
    "demo.verdict": lambda: verdict("demo", "RollingQ: ", "Encoders: "),
    "utd_mhad.verdict": lambda: verdict("utd_mhad", "Encoders: "),
    "demo.minutes": demo_minutes,
    "demo.memory": demo_memory,
    "utd_mhad.table": lambda: comparison_table("utd_mhad"),
    "utd_mhad.differences": lambda: difference_lines("utd_mhad"),
    "fusion.speed": fusion_speed,
    "complexity.table": complexity_table,
    "step.speed": step_speed,
    "step.bound": lambda: f"{read('step')['ratio_if_all_but_matmuls_were_free']:.2f}",
    "step.peak": lambda: f"{100 * read('step')['share_of_peak']:.0f}",
    "overhead": overhead,
    "search.av_digits": lambda: search_choice("search_av_digits"),
    "search.utd_mhad": lambda: search_choice("search_utd_mhad_inertial_depth"),
}


def fill(text: str) -> str:
    """Return a page with every block filled; an unknown name is an error."""
    return BLOCK.sub(lambda found: f"{found[1]}{FILLS[found['name']]()}{found[4]}", text)


def main() -> None:
    """Fill all pages, or with --check say which are out of date and exit with 1."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    stale = [page for page in pages if fill(page.read_text()) != page.read_text()]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{page.relative_to(ROOT)}: run scripts/fill_numbers.py" for page in stale) or 0)
    for page in stale:
        page.write_text(fill(page.read_text()))
        print(f"filled {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
