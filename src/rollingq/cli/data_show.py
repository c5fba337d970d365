"""``rollingq data show``: one sample as a picture."""

import json
from pathlib import Path

from rollingq.cli.plain import Parser
from rollingq.errors import DataError


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = Parser(prog="rollingq data show", description="Draw one sample as a PNG.")
    parser.add_argument("name", help="name of the dataset")
    parser.add_argument("--dir", default=None, help="prepared folder; the last prepared one if not given")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    parser.add_argument("--index", type=int, default=0, help="number of the sample in its split, from 0")
    parser.add_argument("--out", default=None, help="file to write; default NAME_SPLIT_INDEX.png")
    parser.add_argument("--json", action="store_true", help="print what was drawn as JSON")
    given = parser.parse_args(arguments)
    from rollingq.data.prepared import load_folder
    from rollingq.data.registry import entry_of, folder_of, load
    from rollingq.data.view import view_sample
    from rollingq.files import write_bytes
    from rollingq.reporting.plots.sample import sample_png

    entry = entry_of(given.name)
    if entry.embedded:
        data = load(given.name, dir=given.dir)
    else:
        data = load_folder(folder_of(entry, given.dir), name=given.name, is_normalised=False)
    view = view_sample(data, given.split, given.index)
    out = Path(given.out or f"{given.name}_{given.split}_{given.index}.png")
    if out.suffix != ".png":
        raise DataError(f"Expected --out to end in .png, but got {out}.")
    write_bytes(out, sample_png(view))
    facts = {"file": str(out), "name": view.name, "label": view.label, "split": view.split, "index": view.index}
    shapes = {name: list(panel.array.shape) for name, panel in view.panels.items()}
    if given.json:
        print(json.dumps({**facts, "modalities": shapes}, indent=1))
    else:
        print(f"{view.split} {view.index}: {view.name}, class {view.label} -> {out}")
        print("\n".join(f"  {name}: {panel.kind} {list(panel.array.shape)}" for name, panel in view.panels.items()))
    return 0
