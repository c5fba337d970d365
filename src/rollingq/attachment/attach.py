"""attach, detach, fold: RollingQ enters a model in one line and leaves it in one."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from rollingq.attachment.find import find_projections, form_of, found_text, locate
from rollingq.attachment.linear import AbsorbedSite, LinearSite
from rollingq.attachment.multihead import MultiheadSite
from rollingq.attachment.sites import NAME, Site
from rollingq.attachment.streams import Stream, StreamSite
from rollingq.config import RollingQConfig
from rollingq.controller import RollingQ
from rollingq.errors import AttachError
from rollingq.tokens import Tokens, as_layout


def attach(
    model: nn.Module,
    layer: str | Mapping[str, str],
    *,
    tokens: Tokens,
    modalities: Sequence[str] | None = None,
    query: str | None = None,
    key: str | None = None,
    num_heads: int | None = None,
    **options: Any,  # noqa: ANN401
) -> RollingQ:
    """Attach RollingQ to one attention layer of any model.

    The model trains as before; call ``att.step()`` once an epoch, after the last optimizer step and before
    validation. The attachment is a submodule of the layer, so ``model.state_dict()`` carries rotation,
    counters and history, and a model built and attached alike loads them. Until it rotates, no output bit
    changes.

    Args:
        model: Any module.
        layer: Path of the attention layer, such as "fusion.attention" ("" is the model itself): a module
            with separate query and key Linears, or torch.nn.MultiheadAttention. A mapping {modality: path} where
            each modality's keys have a layer of their own: their class rows (the first of each) are judged and
            rotated together, which is our reading of what the paper leaves open for MulT and MMML.
        tokens: Order and number of the key positions: ``{"cls": 1, "audio": 177, "visual": 197}`` ("cls" =
            no modality), a TokenLayout, or a callable that gets the layer's forward arguments and returns
            either (for lengths and masks that change). A key padding mask given to MultiheadAttention is
            taken into account by itself.
        modalities: Names of the modalities in the order of the keys; only beside a callable for ``tokens``.
        query: Name of the query Linear inside the layer, if it cannot be found by its name.
        key: Name of the key Linear.
        num_heads: Number of heads, if the layer does not name it.
        **options: Settings of :class:`rollingq.RollingQConfig` (rho, beta, max_rotations, ...).

    Returns:
        The attachment: ``step()``, ``fold()``, ``detach()``, ``history``, ``state_dict()``.

    Raises:
        AttachError: If the layer does not exist (the text names the nearest and lists what was found), is not
            attention, already carries RollingQ, or its keys hold one modality only.
        ConfigError: If a setting is unknown or outside its range.

    Source:
        Ni et al., "RollingQ", ICML 2025, Algorithm 1.

    Example:
        >>> model = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True))
        >>> att = attach(model, "0", tokens={"cls": 1, "audio": 3, "image": 4}, rho=2.0)
        >>> att.modalities
        ('audio', 'image')
    """
    config = RollingQConfig.from_options(options)
    site: Site
    if isinstance(layer, Mapping):
        _refuse_needless(query, key, num_heads, "streams, whose projections are found by their names")
        site = StreamSite(model, _streams(model, layer), tokens, config.scope)
    else:
        site = _make_site(model, _free(model, layer), layer, tokens, config.scope, query, key, num_heads)
    attachment = RollingQ(site, _modalities(tokens, modalities), config, like=site.query_weight()[0].detach())
    attachment.train(site.attention.training)
    site.install(attachment)
    return attachment


def _free(model: nn.Module, path: str) -> nn.Module:
    """Return the layer at a path, which must not carry RollingQ yet."""
    attention = locate(model, path)
    taken = [entered for attached in attachments(model) for entered in attached.layers]
    if NAME in attention._modules or any(entered is attention for entered in taken):
        raise AttachError(f"Expected a layer without RollingQ, but {path!r} already carries it; detach it first.")
    return attention


def _refuse_needless(query: str | None, key: str | None, num_heads: int | None, what: str) -> None:
    given = {"query": query, "key": key, "num_heads": num_heads}
    needless = [f"{name}=" for name, value in given.items() if value is not None]
    if needless:
        raise AttachError(f"Expected no {' or '.join(needless)} for {what}, but got some; leave them out.")


def _streams(model: nn.Module, layers: Mapping[str, str]) -> dict[str, Stream]:
    """Return the attention layer of each modality."""
    if len(layers) < 2 or len(set(layers.values())) < len(layers):
        raise AttachError(f"Expected at least two modalities, each with a layer of its own, but got {dict(layers)}.")
    found = {}
    for name, path in layers.items():
        attention = _free(model, path)
        query, key = _projection_names(model, attention, path, None, None)
        found[name] = Stream(path, attention, _linear(attention, path, query), _linear(attention, path, key))
    return found


def _make_site(
    model: nn.Module,
    attention: nn.Module,
    path: str,
    tokens: Tokens,
    scope: str,
    query: str | None,
    key: str | None,
    num_heads: int | None,
) -> Site:
    if isinstance(attention, nn.MultiheadAttention):
        _refuse_needless(query, key, num_heads, "torch.nn.MultiheadAttention, which names its own")
        return MultiheadSite(model, attention, path, tokens, scope)
    query, key = _projection_names(model, attention, path, query, key)
    kind = AbsorbedSite if hasattr(type(attention), "absorbed_arguments") else LinearSite
    projections = {"query": _linear(attention, path, query), "key": _linear(attention, path, key)}
    return kind(model, attention, path, tokens, scope, num_heads=num_heads, **projections)


def _projection_names(
    model: nn.Module, attention: nn.Module, path: str, query: str | None, key: str | None
) -> tuple[str, str]:
    if query is not None and key is not None:
        return query, key
    if query is not None or key is not None:
        raise AttachError("Expected both query= and key=, or neither, but got only one.")
    pairs = find_projections(attention)
    if len(pairs) == 1:
        return pairs[0]
    what = f"several ({', '.join(' / '.join(p) for p in pairs)})" if pairs else "none"
    listed = "" if form_of(attention) else f" {found_text(model)}"
    raise AttachError(
        f"Expected one pair of query and key Linears directly in {path!r} ({type(attention).__name__}), but found "
        f"{what}; name them with query= and key=.{listed}"
    )


def _linear(attention: nn.Module, path: str, name: str) -> nn.Linear:
    module = locate(attention, name)
    if not isinstance(module, nn.Linear):
        raise AttachError(f"Expected a torch.nn.Linear at {path}.{name}, but got {type(module).__name__}.")
    return module


def _modalities(tokens: Tokens, modalities: Sequence[str] | None) -> tuple[str, ...]:
    if callable(tokens):
        if modalities is None:
            raise AttachError(
                "Expected modalities= beside a callable for tokens, but got none; name them in the order of the keys, "
                "such as modalities=('audio', 'visual')."
            )
        if len(modalities) < 2:
            raise AttachError(f"Expected at least two modalities to balance, but got {list(modalities)}.")
        return tuple(modalities)
    if modalities is not None:
        raise AttachError("Expected modalities= only beside a callable for tokens: a mapping names them already.")
    return as_layout(tokens).modalities


def attachments(model: nn.Module) -> list[RollingQ]:
    """Return all attachments inside a model, in the model's order.

    Example:
        >>> model = nn.Sequential(nn.MultiheadAttention(8, 2))
        >>> att = attach(model, "0", tokens={"audio": 3, "image": 4})
        >>> attachments(model) == [att]
        True
    """
    return [module for module in model.modules() if isinstance(module, RollingQ)]


def detach(model: nn.Module) -> nn.Module:
    """Take every attachment out of the model, which is then bit for bit what it was; return it.

    Example:
        >>> model = nn.Sequential(nn.MultiheadAttention(8, 2))
        >>> att = attach(model, "0", tokens={"audio": 3, "image": 4})
        >>> detach(model)[0].__class__.__name__, attachments(model)
        ('MultiheadAttention', [])
    """
    for attachment in attachments(model):
        attachment.detach()
    return model


def fold(model: nn.Module, *, example: Any = None) -> nn.Module:  # noqa: ANN401
    """Fold every rotation into its query projection; return the plain model (see :meth:`RollingQ.fold`).

    Args:
        model: The model.
        example: Positional arguments of the model (a tuple), to prove on data that folding changes nothing.

    Raises:
        FoldError: If the folded model would compute something else.

    Example:
        >>> from rollingq.nn.layers import Attention
        >>> model = Attention(8)
        >>> att = attach(model, "", tokens={"audio": 3, "image": 4})
        >>> _ = model(torch.randn(1, 1, 8), torch.randn(2, 7, 8))
        >>> attachments(fold(model))
        []
    """
    for attachment in attachments(model):
        attachment.fold(example)
    return model
