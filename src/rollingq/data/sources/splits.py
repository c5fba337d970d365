"""Divide clips into train, val and test, the same way on every machine. No torch in here.

"Units" are what must stay whole: clip names, or groups (persons, source videos) that no two splits may share. All
orders come from SHA-256 of the units' names, so that neither the order of files nor a library's version matters.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from io import StringIO
from itertools import combinations
from pathlib import Path

from rollingq.data.prepare.source import SPLITS
from rollingq.errors import DataError, unknown_name

HEADERS = {"name", "file", "filename", "clip", "path", "video", "label", "class", "emotion"}
"""A first line made of such words alone is a header."""
SHOWN = 3
"""Lines that a message names."""


def hash_order(units: Iterable[str], salt: str = "") -> list[str]:
    """Return the units shuffled by the SHA-256 of ``salt:unit``; another salt gives another order.

    Example:
        >>> hash_order(["a", "b", "c"]), hash_order("cba", salt="7")
        (['b', 'c', 'a'], ['c', 'a', 'b'])
    """
    return sorted(units, key=lambda unit: (sha256(f"{salt}:{unit}".encode()).hexdigest(), unit))


def count_of(total: int, share: float) -> int:
    """Return how many of ``total`` units a share is: rounded half up, and at least one of three or more.

    Example:
        >>> count_of(25, 0.1), count_of(3, 0.1), count_of(2, 0.1)
        (3, 1, 0)
    """
    return max(int(total * share + 0.5), 1 if total >= 3 else 0)


def hold_out(classes: Mapping[str, int], share: float, salt: str = "") -> frozenset[str]:
    """Return the units to hold out: of every class the first ones in hash order.

    Args:
        classes: Unit -> its class.
        share: Share of every class, 0 to 1.
        salt: Chooses another order.

    Example:
        >>> sorted(hold_out({"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 1}, 0.1))
        ['b', 'e']
    """
    held: set[str] = set()
    for units in _by_class(classes).values():
        held.update(hash_order(units, salt)[: count_of(len(units), share)])
    return frozenset(held)


def stratified(classes: Mapping[str, int], *, val: float = 0.1, test: float = 0.1, salt: str = "") -> dict[str, str]:
    """Return unit -> split, where every class has the same shares in every split.

    A class of three or more units has at least one in each split.

    Args:
        classes: Unit -> its class.
        val: Share of every class in "val".
        test: Share of every class in "test"; what is left is "train".
        salt: Chooses another order, as a seed does.

    Example:
        >>> stratified({"a": 0, "b": 0, "c": 0, "d": 0})
        {'a': 'train', 'b': 'test', 'c': 'val', 'd': 'train'}
    """
    splits = dict.fromkeys(classes, "train")
    for units in _by_class(classes).values():
        order = hash_order(units, salt)
        end = count_of(len(units), test)
        splits.update(dict.fromkeys(order[:end], "test"))
        splits.update(dict.fromkeys(order[end : end + count_of(len(units), val)], "val"))
    return splits


def disjoint(groups: Iterable[str], *, val: float = 0.1, test: float = 0.2, salt: str = "") -> dict[str, str]:
    """Return group -> split for groups that have no class of their own, such as actors.

    Example:
        >>> from collections import Counter
        >>> sorted(Counter(disjoint(map(str, range(91))).values()).items())
        [('test', 18), ('train', 64), ('val', 9)]
    """
    return stratified(dict.fromkeys(sorted(set(groups)), 0), val=val, test=test, salt=salt)


def classes_of(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return unit -> class from the (unit, label) of its clips: the most frequent label, the lowest of equals.

    Example:
        >>> classes_of([("g1", 2), ("g2", 0), ("g1", 1), ("g1", 1)])
        {'g1': 1, 'g2': 0}
    """
    votes: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for unit, label in pairs:
        votes[unit][label] += 1
    return {unit: min(labels, key=lambda label: (-labels[label], label)) for unit, labels in votes.items()}


def overlap(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return how many groups any two splits share.

    Args:
        pairs: (split, group) of every clip; an empty group is not counted.

    Example:
        >>> overlap([("train", "anna"), ("test", "anna"), ("test", "bob"), ("val", "")])
        {'train-val': 0, 'train-test': 1, 'val-test': 0}
    """
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, group in pairs:
        groups[split] |= {group} - {""}
    return {f"{one}-{two}": len(groups[one] & groups[two]) for one, two in combinations(SPLITS, 2)}


def parse_split(text: str, *, plain: Iterable[str], seeded: Iterable[str]) -> tuple[str, str]:
    """Return the rule and the seed of a ``split`` option; a seeded rule without seed has "0".

    Args:
        text: The option.
        plain: Rules that take no seed.
        seeded: Rules that may be followed by ``:SEED``.

    Raises:
        DataError: If the rule is unknown or the seed is no whole number.

    Example:
        >>> parse_split("random:7", plain=["paper"], seeded=["random"])
        ('random', '7')
    """
    rule, colon, seed = text.partition(":")
    seeded = set(seeded)
    known = [*plain, *sorted(f"{name}:SEED" for name in seeded)]
    if rule not in {*plain, *seeded}:
        raise DataError(unknown_name("split", text, known))
    if colon and (rule not in seeded or not seed.isdecimal()):
        raise DataError(
            f"Expected split to be one of {', '.join(known)} with a whole number as seed, but got {text!r}."
        )
    return rule, str(int(seed)) if seed else "0"


def at_lines(numbers: Iterable[int]) -> str:
    """Return which lines a message is about, the first three by number.

    Example:
        >>> at_lines([4]), at_lines([2, 3, 5, 8])
        ('line 4', 'lines 2, 3, 5 and 1 more')
    """
    lines = list(numbers)
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:SHOWN]))}{more}"


def read_text(path: Path) -> str:
    """Return a list file's text (UTF-8, with or without a byte order mark).

    Raises:
        DataError: If the file is missing, cannot be read, or is no text.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"Expected to read the list {path}, but got: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"Expected {path} to be UTF-8 text, but got other bytes. Save it as UTF-8.") from error
    if "\0" in text:
        raise DataError(f"Expected {path} to be UTF-8 text, but got a NUL character. Save it as UTF-8.")
    return text


def read_csv(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of every line of a csv file that has a cell with text; cells are stripped.

    Raises:
        DataError: If it cannot be read, or is no csv file.
    """
    reader = csv.reader(StringIO(read_text(path)), skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        got = f"{error} in line {reader.line_num}"
        raise DataError(
            f"Expected {path} to be a csv file, but got: {got}. Look for a quote that is not closed."
        ) from error
    return [(number, cells) for number, cells in rows if any(cells)]


def read_list(path: Path) -> list[tuple[str, str]]:
    r"""Return (name, label text) of every line ``name,label`` or ``name label``; a header line is left out.

    Args:
        path: Text file. Empty lines do not count; names may be quoted.

    Raises:
        DataError: If it cannot be read, has no entry, a line has not two fields, or a name occurs twice.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "train.csv"
        >>> _ = path.write_text("name,label\nclip1,NEU\nclip2 3\n")
        >>> read_list(path)
        [('clip1', 'NEU'), ('clip2', '3')]
    """
    fields = list(_fields(read_text(path)))
    if wrong := [number for number, cells in fields if len(cells) != 2 or not all(cells)]:
        raise DataError(f"Expected {path} to hold 'name,label' in each line, but got other text in {at_lines(wrong)}.")
    if fields and {cell.lower() for cell in fields[0][1]} <= HEADERS:
        fields = fields[1:]
    if not fields:
        raise DataError(f"Expected {path} to hold lines 'name,label', but got none. Give a list with entries.")
    first: dict[str, int] = {}
    twice = [number for number, (name, _) in fields if first.setdefault(name, number) != number]
    if twice:
        raise DataError(f"Expected every name once in {path}, but got repeated names in {at_lines(twice)}.")
    return [(name, label) for _, (name, label) in fields]


def _fields(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            cells = line.split(",") if "," in line else line.split(maxsplit=1)
            yield number, [cell.strip().strip('"').strip() for cell in cells]


def _by_class(classes: Mapping[str, int]) -> dict[int, list[str]]:
    units: defaultdict[int, list[str]] = defaultdict(list)
    for unit, label in classes.items():
        units[label].append(unit)
    return dict(units)
