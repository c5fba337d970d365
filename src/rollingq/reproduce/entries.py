"""All entries by name, free of torch: ``table1`` to ``table11`` and ``figure1`` to ``figure9``."""

from collections.abc import Sequence

from rollingq.errors import ConfigError, unknown_name
from rollingq.reproduce import appendix_tables, figures, tables
from rollingq.reproduce.entry import Entry

EVERYTHING = "all"
"""The name that stands for every entry."""

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *(getattr(tables, f"TABLE{number}") for number in range(1, 8)),
        *(getattr(appendix_tables, f"TABLE{number}") for number in range(8, 12)),
        *(getattr(figures, f"FIGURE{number}") for number in range(1, 10)),
    )
}
"""Name -> entry."""


def entries_of(names: Sequence[str]) -> list[Entry]:
    """Return the entries of these names, each once; "all" stands for every one.

    Raises:
        ConfigError: If there is no entry of a name.

    Example:
        >>> [entry.name for entry in entries_of(["table5", "figure3", "table5"])]
        ['table5', 'figure3']
    """
    for name in names:
        if name not in ENTRIES and name != EVERYTHING:
            raise ConfigError(unknown_name("what to reproduce", name, [*ENTRIES, EVERYTHING]))
    wanted = [one for name in names for one in (ENTRIES if name == EVERYTHING else [name])]
    return [ENTRIES[name] for name in dict.fromkeys(wanted)]
