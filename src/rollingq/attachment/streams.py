"""Modalities whose keys have an attention layer each: their class queries are judged and rotated together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from rollingq.attachment.linear import heads_of
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
        super().__init__(model, first.attention, first.path, tokens, scope)
        self.streams = dict(streams)
        self.num_queries = len(streams)
        self.num_heads = heads_of(first.attention)
        self.dim = first.query.out_features // self.num_heads
        self._check()
        self._queries: dict[str, Tensor] = {}
        self._seen: dict[str, _Seen] = {}
        self._absorbed: dict[str, tuple[Tensor, Tensor | None] | None] = {}

    def _check(self) -> None:
        widths = {
            name: (stream.query.out_features, stream.key.out_features, heads_of(stream.attention))
            for name, stream in self.streams.items()
        }
        if len(set(widths.values())) > 1 or any(query != key for query, key, _ in widths.values()):
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
        """Remember tokens and mask of a layer that never projects its keys."""
        self._queries.pop(name, None)
        self._seen.pop(name, None)
        self._absorbed[name] = None
        if hasattr(type(module), "absorbed_arguments"):
            sequence_name, mask_name = cast(Any, module).absorbed_arguments
            given = self.bind(module, args, kwargs)
            self._absorbed[name] = (given[sequence_name], given.get(mask_name))

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
            absorbed = self._absorbed[name]
            if absorbed is not None:
                self._report(name, *self._average(name, *absorbed))
        return None if turned is queries else turned.reshape(output.shape)

    def _on_key(self, name: str, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        if self.rollingq.is_observing and self._absorbed[name] is None:
            self._check_length(name, output)
            self._report(name, output.detach().mean(1), None)

    @torch.no_grad()
    def _average(self, name: str, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the projected average ``[B, D]`` of a stream's tokens, and in which samples there are any."""
        self._check_length(name, tokens)
        key = self.streams[name].key
        average = nn.functional.linear(masked_mean(tokens.detach(), mask), key.weight, key.bias)
        return average, None if mask is None else mask.any(1)

    def _check_length(self, name: str, keys: Tensor) -> None:
        assert self._layout is not None
        if keys.shape[1] != self._layout.lengths[name]:
            raise ShapeError(
                f"Expected {self._layout.lengths[name]} key positions in {self.streams[name].path!r} ({name}), but got "
                f"{keys.shape[1]}; give tokens=... as they reach this layer."
            )

    def _report(self, name: str, average_key: Tensor, is_present: Tensor | None) -> None:
        """Keep what a stream showed, and hand all over once every stream has shown its own."""
        if name not in self._queries:
            return
        self._seen[name] = _Seen(self._queries.pop(name), average_key, is_present)
        if len(self._seen) < len(self.streams):
            return
        seen = [self._seen.pop(name) for name in self.streams]
        split = self.rollingq.split_heads
        presence = [s.is_present for s in seen]
        ones = torch.ones(len(average_key), dtype=torch.bool, device=average_key.device)
        self.rollingq.observe(
            Observation(
                query=split(torch.stack([s.query.expand(len(average_key), -1) for s in seen], dim=1)),
                average_keys=split(torch.stack([s.average_key for s in seen], dim=1)),
                is_present=None
                if all(p is None for p in presence)
                else torch.stack([ones if p is None else p for p in presence], dim=1),
                is_paired=True,
            )
        )
