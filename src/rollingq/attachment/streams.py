"""Modalities whose keys have an attention layer each: their class queries are judged and rotated together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from rollingq.attachment.linear import check_projections, heads_of
from rollingq.attachment.sites import Site, as_rows
from rollingq.errors import AttachError, ShapeError
from rollingq.functional import masked_mean
from rollingq.statistics import Observation
from rollingq.tokens import CLS

CLASS_ROW = slice(0, 1)


@dataclass(frozen=True)
class Stream:
    """The attention layer that holds the keys of one modality."""

    path: str
    attention: nn.Module
    query: nn.Linear
    key: nn.Linear


@dataclass(frozen=True)
class _Seen:
    """What one stream showed in this forward: query ``[B, D]``, average key ``[B, D]``, presence ``[B]``."""

    query: Tensor
    average_key: Tensor
    is_present: Tensor | None


class StreamSite(Site):
    """Several attention layers, one a modality, that share one decision (our reading of the paper).

    ``c_m = cos(q_m, k_hat_m)`` compares each modality's keys with the query that asks them; AIR, weights and
    anchor follow from these cosines as in Eq. 9 to 11, and every class query turns to the one anchor. The
    streams share no softmax, so that the effect on attention is indirect. The attachment lives in the first layer.

    Args:
        model: The whole model.
        streams: Modality -> its layer, in the order of ``tokens``.
        tokens: Modality -> number of its key positions.
        scope: "query": the first row of each stream's queries rotates.
    """

    def __init__(self, model: nn.Module, streams: Mapping[str, Stream], tokens: Any, scope: str) -> None:  # noqa: ANN401
        first = next(iter(streams.values()))
        super().__init__(model, first.attention, ", ".join(s.path for s in streams.values()), tokens, scope)
        self.streams = dict(streams)
        self.num_queries = len(streams)
        self.num_heads = heads_of(first.attention)
        self.dim = first.query.out_features // self.num_heads
        self._check()
        self._queries: dict[str, Tensor] = {}
        self._averages: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._seen: dict[str, _Seen] = {}

    @property
    def layers(self) -> list[nn.Module]:
        """All streams' layers."""
        return [stream.attention for stream in self.streams.values()]

    def _check(self) -> None:
        for stream in self.streams.values():
            check_projections(stream.query, stream.key, heads_of(stream.attention), stream.path)
        if len({id(stream.query.weight) for stream in self.streams.values()}) < len(self.streams):
            raise AttachError(f"Expected a query projection for each stream, but {self.path} share one; untie them.")
        widths = {
            name: (stream.query.out_features, heads_of(stream.attention)) for name, stream in self.streams.items()
        }
        if len(set(widths.values())) > 1:
            raise AttachError(f"Expected streams of one width and number of heads, but got {widths}.")
        if self.scope != "query":
            raise AttachError("Expected scope='query' for streams: their class rows rotate together.")
        if callable(self._tokens) or self._layout is None or self._layout.modalities != tuple(self.streams):
            raise AttachError(
                f"Expected tokens as a mapping of the streams {', '.join(self.streams)} in this order, but got "
                f"{self._tokens!r}."
            )
        if self._layout.lengths.get(CLS):
            raise AttachError("Expected no 'cls' in tokens for streams: each layer holds the keys of one modality.")

    def projections(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return weight and bias of every stream's query projection."""
        return [(stream.query.weight, stream.query.bias) for stream in self.streams.values()]

    def query_weight(self) -> tuple[Tensor, Tensor | None]:
        """Return those of the first stream."""
        return self.projections()[0]

    def _install(self) -> None:
        for index, (name, stream) in enumerate(self.streams.items()):
            self._handles += [
                stream.attention.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True),
                stream.query.register_forward_hook(partial(self._on_query, name, index)),
                stream.key.register_forward_hook(partial(self._on_key, name)),
            ]

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forget the last forward; average the tokens of a layer that never projects its keys."""
        self._queries.pop(name, None)
        self._averages.pop(name, None)
        self._seen.pop(name, None)
        if self.rollingq.is_observing and hasattr(type(module), "absorbed_arguments"):
            sequence_name, mask_name = cast(Any, module).absorbed_arguments
            given = self.bind(module, args, kwargs)
            average, is_present = self._average(name, given[sequence_name], given.get(mask_name))
            key = self.streams[name].key
            self._averages[name] = (nn.functional.linear(average, key.weight, key.bias).detach(), is_present)

    def _on_query(
        self, name: str, index: int, _module: nn.Module, _args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        queries = as_rows(output)
        self.other_rows = max(self.other_rows or 0, queries.shape[1] - 1)
        attachment = self.rollingq
        turned = queries
        if not attachment.is_idle():
            turned = torch.cat([attachment.rotate(queries[:, CLASS_ROW], index=index), queries[:, 1:]], dim=1)
        if attachment.is_observing:
            self._queries[name] = turned.detach()[:, 0].clone()
            self._report(name)
        return None if turned is queries else turned.reshape(output.shape)

    def _on_key(self, name: str, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        if self.rollingq.is_observing and name not in self._averages and name not in self._seen:
            self._averages[name] = self._average(name, output, None)
            self._report(name)

    @torch.no_grad()
    def _average(self, name: str, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the average ``[B, D]`` of a stream's real tokens, and in which samples there are any."""
        self._check_length(name, tokens)
        assert self._layout is not None
        if self._layout.mask is not None:
            given = self._layout.mask[:, self._layout.spans[name]]
            mask = given if mask is None else mask & given
        return masked_mean(tokens.detach(), mask), None if mask is None else mask.any(1)

    def _check_length(self, name: str, keys: Tensor) -> None:
        assert self._layout is not None
        if keys.shape[1] != self._layout.lengths[name]:
            raise ShapeError(
                f"Expected {self._layout.lengths[name]} key positions in {self.streams[name].path!r} ({name}), but got "
                f"{keys.shape[1]}; give tokens=... as they reach this layer."
            )

    def _report(self, name: str) -> None:
        """Keep what a stream showed once both are there, and hand all over once every stream has shown its own."""
        if name not in self._queries or name not in self._averages:
            return
        self._seen[name] = _Seen(self._queries.pop(name), *self._averages.pop(name))
        if len(self._seen) < len(self.streams):
            return
        seen = [self._seen.pop(name) for name in self.streams]
        number = max(len(s.average_key) for s in seen)
        split = self.rollingq.split_heads
        self.rollingq.observe(
            Observation(
                query=split(torch.stack([s.query.expand(number, -1) for s in seen], dim=1)),
                average_keys=split(torch.stack([s.average_key for s in seen], dim=1)),
                is_present=_presence(seen),
                is_paired=True,
            )
        )


def _presence(seen: list[_Seen]) -> Tensor | None:
    """Return where each sample has each modality, ``[B, M]``; None = everywhere."""
    if all(s.is_present is None for s in seen):
        return None
    every = torch.ones(len(seen[0].average_key), dtype=torch.bool, device=seen[0].average_key.device)
    return torch.stack([every if s.is_present is None else s.is_present for s in seen], dim=1)
