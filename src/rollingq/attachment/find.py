"""Find attention layers by name or by form, and name the nearest when a name is wrong."""

import difflib
from dataclasses import dataclass

from torch import nn

from rollingq.errors import AttachError

PAIRS = (("query", "key"), ("Query", "Key"), ("q", "k"), ("Q", "K"))
"""How names of query and key projections differ; longer words first."""


@dataclass(frozen=True)
class Candidate:
    """An attention layer that RollingQ can enter, with the form in which it was recognised."""

    path: str
    form: str

    def __str__(self) -> str:
        return f"{self.path!r} ({self.form})"


def linear_children(module: nn.Module) -> dict[str, nn.Linear]:
    """Return the Linears directly inside a module, by name."""
    return {name: child for name, child in module.named_children() if isinstance(child, nn.Linear)}


def find_projections(module: nn.Module) -> list[tuple[str, str]]:
    """Return pairs of names of separate query and key Linears, such as ``("q_proj", "k_proj")``."""
    names = linear_children(module)
    found: list[tuple[str, str]] = []
    for name in names:
        partners = [p for word, other in PAIRS for p in _replacements(name, word, other) if p in names]
        if partners and (name, partners[0]) not in found:
            found.append((name, partners[0]))
    return found


def _replacements(name: str, word: str, other: str) -> list[str]:
    """Return ``name`` with each single occurrence of ``word`` replaced."""
    starts = [i for i in range(len(name)) if name.startswith(word, i)]
    return [name[:i] + other + name[i + len(word) :] for i in starts]


def form_of(module: nn.Module) -> str | None:
    """Return in which form a module is attention, or None."""
    if isinstance(module, nn.MultiheadAttention):
        return f"MultiheadAttention, width {module.embed_dim}, {module.num_heads} heads"
    pairs = find_projections(module)
    if not pairs:
        return None
    query = linear_children(module)[pairs[0][0]]
    return f"{type(module).__name__}, {' / '.join(pairs[0])}, width {query.out_features}"


def find(model: nn.Module) -> list[Candidate]:
    """Return all attention layers that :func:`rollingq.attach` can enter, in the model's order.

    Example:
        >>> find(nn.Sequential(nn.MultiheadAttention(8, 2)))
        [Candidate(path='0', form='MultiheadAttention, width 8, 2 heads')]
    """
    forms = ((path, form_of(module)) for path, module in model.named_modules())
    return [Candidate(path, form) for path, form in forms if form]


def locate(model: nn.Module, path: str) -> nn.Module:
    """Return the module at ``path`` ("" is the model itself).

    Raises:
        AttachError: If there is none; the text names the nearest paths and the attention layers found.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path in modules:
        return modules[path]
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
    raise AttachError(f"Expected the path of a layer, but {path!r} is not in the model.{hint} {found_text(model)}")


def found_text(model: nn.Module) -> str:
    """Return one sentence that lists the attention layers of the model."""
    candidates = find(model)
    if not candidates:
        return "No attention layer was found; give query= and key=, the paths of its Linears inside the layer."
    return f"Attention layers found: {', '.join(map(str, candidates[:8]))}."
