"""``rollingq data check``: is a prepared folder what its manifest promises?"""

import json
from dataclasses import asdict

from rollingq.cli.plain import Bar, Parser


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code: 1 if anything is damaged."""
    from rollingq.data.registry import check

    parser = Parser(prog="rollingq data check", description="Verify every shard of a prepared folder.")
    parser.add_argument("name", help="name of the dataset")
    parser.add_argument("--dir", default=None, help="prepared folder; the last prepared one if not given")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    with Bar("checking") as bar:
        report = check(given.name, dir=given.dir, on_progress=bar.update)
    if given.json:
        print(json.dumps(asdict(report), indent=1))
    else:
        for shard in report.shards:
            shapes = ", ".join(f"{name} {list(shape)}" for name, shape in shard.shapes.items())
            print(f"{shard.file}: {shard.problem or 'sound'}" + (f" ({shapes})" if shapes else ""))
        print(f"{report.folder}: {len(report.shards) - len(report.problems)} of {len(report.shards)} files sound")
    return 1 if report.problems else 0
