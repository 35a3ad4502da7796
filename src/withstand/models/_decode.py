"""Batched decoding of a transformers model, with rows that come and go and one seed a row.

Rows decode together in a *slab*: one key-value buffer whose columns all rows share, each row right-aligned to the
current column, so that a finished row's place is taken by the next prompt while the others go on. The window of columns
that any row still needs moves to the right and is copied back when the buffer ends. A prefix that all prompts share is
computed once, and so is a prompt of which several answers are drawn. Every random number comes from a row's own seed
and place, so that a row depends on its neighbors by rounding alone.
"""

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from withstand.core import Sampling
from withstand.models._thinking import Decision

SLACK = 128
"""Columns of the slab beyond the longest row: how many steps pass between two copies of the window."""
PREFILL_TOKENS = 4_096
"""Most prompt tokens in one forward pass."""
PADDING = 128
"""Most of them that only fill up shorter prompts: for more, another pass takes less time."""
SHARED = 16
"""A common prefix of fewer tokens is not worth a pass of its own."""
NUCLEUS = 2_048
"""Most probable tokens that are looked at for a nucleus before more are: a whole vocabulary takes long to sort."""


@dataclass
class Answer:
    """The tokens of an answer, without the one that ended it; `logprobs` as (token, log-probability), best first."""

    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] = "stop"
    logprobs: list[list[tuple[int, float]]] = field(default_factory=list)


@dataclass
class _Window:
    """Where a slab stands, which its layers look up: columns [start, at) are in use, the next token goes to `at`."""

    rows: int
    columns: int
    at: int
    start: int = 0


class _Layer(CacheLayerMixin):
    """One layer's keys and values in the slab, of shape (rows, heads, columns, dimension).

    It knows the slab's window and not the slab: a cycle would keep gigabytes until a garbage collection.
    """

    is_sliding = False

    def __init__(self, window: _Window) -> None:
        super().__init__()
        self.window = window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self.window.rows, key_states.shape[1], self.window.columns)
        self.keys = key_states.new_zeros(*shape, key_states.shape[-1])
        self.values = value_states.new_zeros(*shape, value_states.shape[-1])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        start, at = self.window.start, self.window.at
        end = at + key_states.shape[2]
        assert self.keys is not None
        assert self.values is not None
        self.keys[:, :, at:end] = key_states
        self.values[:, :, at:end] = value_states
        return self.keys[:, :, start:end], self.values[:, :, start:end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window.at - self.window.start + query_length, 0

    def get_seq_length(self) -> int:
        return self.window.at - self.window.start

    def get_max_length(self) -> int:
        return -1


class _Slab:
    """The shared buffer."""

    def __init__(self, rows: int, columns: int, at: int) -> None:
        self.window = _Window(rows, columns, at)
        self.layers: list[_Layer] = []

    def put(self, row: int, source: DynamicCache, index: int, length: int) -> None:
        """Copy a prefilled prompt into a row, right-aligned to the current column."""
        if not self.layers:
            self.layers = [_Layer(self.window) for _ in source.layers]
        for layer, theirs in zip(self.layers, source.layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(theirs.keys, theirs.values)
            layer.keys[row, :, self.window.at - length : self.window.at] = theirs.keys[index, :, :length]
            layer.values[row, :, self.window.at - length : self.window.at] = theirs.values[index, :, :length]

    def cache(self) -> Cache:
        return Cache(layers=self.layers)

    def move(self, start: int) -> int:
        """Drop the columns before `start`; copy the window back if the buffer is full. By how much columns moved."""
        self.window.start = start
        if self.window.at < self.window.columns:
            return 0
        width = self.window.at - start
        for layer in self.layers:
            layer.keys[:, :, :width] = layer.keys[:, :, start : self.window.at].clone()
            layer.values[:, :, :width] = layer.values[:, :, start : self.window.at].clone()
        self.window.start, self.window.at = 0, width
        return start

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows go on."""
        self.window.rows = len(rows)
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[list(rows)], layer.values[list(rows)]


@dataclass
class _Row:
    index: int
    prompt: list[int]
    draws: Any  # uniform numbers in [0, 1), one per token; None if greedy
    seen: Tensor | None  # which tokens of the vocabulary occur in prompt and answer; None without a penalty
    first: int = 0  # its first column in the slab
    last: int = 0  # the token to feed next
    answer: Answer = field(default_factory=Answer)
    watch: Callable[[list[int]], Decision] | None = None
    forced: list[int] = field(default_factory=list)  # tokens to put in before one is drawn again

    @property
    def position(self) -> int:
        """Of the token to feed next."""
        return len(self.prompt) + len(self.answer.ids) - 1


@dataclass(frozen=True)
class _Prefilled:
    """A prompt whose keys and values stand in a cache, in row `index`. logits: of its next token, (vocabulary,)."""

    prompt: list[int]
    cache: DynamicCache
    index: int
    logits: Tensor


class _Decoder:
    def __init__(
        self,
        model: Any,
        sampling: Sampling,
        ends: frozenset[int],
        rows: int,
        watch: Callable[[int], Callable[[list[int]], Decision]] | None,
        penalty: float,
        most: int,
    ) -> None:
        self.model, self.sampling, self.ends, self.rows, self.watch = model, sampling, ends, rows, watch
        self.penalty, self.most = penalty, most
        self.done: dict[int, Answer] = {}
        self.kept: list[_Prefilled] = []  # at most one: the prompt that the next waiting rows share

    def run(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Answer]:
        # equal lengths prefill together, and equal prompts stand side by side
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i]))
        self.pending = deque(_Row(i, prompts[i], self._draws(seeds[i]), self._seen(prompts[i])) for i in order)
        for row in self.pending:
            row.watch = self.watch(row.index) if self.watch else None
        longest = len(prompts[order[0]])
        slots: list[_Row | None] = [None] * min(self.rows, len(prompts))
        slab = _Slab(len(slots), longest + self.most + SLACK, longest)
        prefix = self._prefix(prompts)
        while self.pending or any(slots):
            free = [place for place, row in enumerate(slots) if row is None]
            if self.pending and len(free) >= min(len(self.pending), max(1, len(slots) // 8)):
                self._fill(slab, slots, free, prefix)
                continue
            active = [place for place, row in enumerate(slots) if row is not None]
            if not self.pending and len(active) <= len(slots) // 2:
                slab.keep(active)
                slots = [slots[place] for place in active]
            self._step(slab, slots)
        return [self.done[i] for i in range(len(prompts))]

    def _draws(self, seed: int) -> Any:
        return None if self.sampling.temperature == 0 else np.random.default_rng(seed).random(self.most)

    def _seen(self, prompt: list[int]) -> Tensor | None:
        if self.penalty == 1:
            return None
        seen = torch.zeros(self.model.config.get_text_config().vocab_size, dtype=torch.bool, device=self.model.device)
        seen[prompt] = True
        return seen

    def _prefix(self, prompts: Sequence[list[int]]) -> DynamicCache | None:
        """The keys and values of what all prompts begin with."""
        low, high = min(prompts), max(prompts)
        shared = 0
        while shared < len(low) - 1 and shared < len(high) - 1 and low[shared] == high[shared]:
            shared += 1
        shared = min(shared, min(map(len, prompts)) - 1)
        if shared < SHARED or low == high:
            return None
        cache = DynamicCache()
        self._forward(torch.tensor([low[:shared]]), cache, keep=1)
        return cache

    def _forward(self, ids: Tensor, cache: Cache, keep: Any, **more: Any) -> Tensor:
        device = self.model.device
        more[cache_word(self.model)] = cache
        output = self.model(input_ids=ids.to(device), use_cache=True, logits_to_keep=keep, **more)
        logits: Tensor = output.logits
        return logits.float()

    def _fill(self, slab: _Slab, slots: list[_Row | None], free: list[int], prefix: DynamicCache | None) -> None:
        """Put waiting rows in the free places and draw their first tokens; a prompt of several is prefilled once."""
        group, fresh = self._next(len(free), prefix)
        ready = self.kept + (self._prefill(fresh, prefix) if fresh else [])
        at, logits = 0, []
        for place, row in zip(free, group, strict=False):
            while ready[at].prompt != row.prompt:
                at += 1
            slab.put(place, ready[at].cache, ready[at].index, len(row.prompt))
            row.first = slab.window.at - len(row.prompt)
            slots[place] = row
            logits.append(ready[at].logits)
        self.kept = ready[at : at + 1] if self.pending and self.pending[0].prompt == ready[at].prompt else []
        slab.window.start = min(row.first for row in slots if row is not None)
        self._take(slots, dict(zip(free, group, strict=False)), torch.stack(logits))

    def _next(self, free: int, prefix: DynamicCache | None) -> tuple[list[_Row], list[list[int]]]:
        """Waiting rows for the free places, and the prompts to prefill for them: of like lengths, for one pass."""
        shared = prefix.get_seq_length() if prefix else 0
        group: list[_Row] = []
        fresh: list[list[int]] = []
        last = self.kept[0].prompt if self.kept else None
        padding = 0
        while self.pending and len(group) < free:
            prompt = self.pending[0].prompt
            if prompt != last:
                longest = len(fresh[0]) if fresh else len(prompt)
                padding += longest - len(prompt)
                if fresh and (padding > PADDING or (len(fresh) + 1) * (longest - shared) > PREFILL_TOKENS):
                    break
                fresh.append(prompt)
                last = prompt
            group.append(self.pending.popleft())
        return group, fresh

    def _prefill(self, prompts: Sequence[list[int]], prefix: DynamicCache | None) -> list[_Prefilled]:
        """One pass over prompts, the longest first, after what all prompts begin with."""
        shared = prefix.get_seq_length() if prefix else 0
        ids = torch.zeros(len(prompts), len(prompts[0]) - shared, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, : len(prompt) - shared] = torch.tensor(prompt[shared:])
        cache = DynamicCache()
        if prefix:
            for i, layer in enumerate(prefix.layers):
                both = (tensor.expand(len(prompts), -1, -1, -1) for tensor in (layer.keys, layer.values))
                cache.update(*both, i)
        # Prompts are padded on the right, where causal attention never looks; each row's last token is read.
        read, which = torch.tensor([len(prompt) - shared - 1 for prompt in prompts]).unique(return_inverse=True)
        logits = self._forward(ids, cache, keep=read.to(self.model.device))
        return [_Prefilled(prompt, cache, i, logits[i, int(which[i])]) for i, prompt in enumerate(prompts)]

    def _step(self, slab: _Slab, slots: list[_Row | None]) -> None:
        """One token for every row."""
        active = {place: row for place, row in enumerate(slots) if row is not None}
        moved = slab.move(min(row.first for row in active.values()))
        for row in active.values():
            row.first -= moved
        ids = torch.zeros(len(slots), 1, dtype=torch.long)
        positions = torch.zeros(len(slots), 1, dtype=torch.long)
        first = torch.full((len(slots), 1), slab.window.at)  # an empty place attends to its own token alone
        for place, row in active.items():
            ids[place, 0], positions[place, 0], first[place, 0] = row.last, row.position, row.first
        device = self.model.device
        mask = torch.arange(slab.window.start, slab.window.at + 1)[None, :] >= first
        logits = self._forward(
            ids, slab.cache(), keep=1, attention_mask=mask.to(device), position_ids=positions.to(device)
        )
        slab.window.at += 1
        self._take(slots, active, logits[list(active), -1])

    def _take(self, slots: list[_Row | None], active: dict[int, _Row], logits: Tensor) -> None:
        """Draw a token for each of these rows from `logits` (rows, vocabulary); rows that end leave their place."""
        tokens = self._draw(logits, list(active.values()))
        top = torch.log_softmax(logits, -1).topk(self.sampling.logprobs) if self.sampling.logprobs else None
        for i, (place, row) in enumerate(active.items()):
            answer, put = row.answer, bool(row.forced)
            token = row.forced.pop(0) if put else tokens[i]
            if token in self.ends and not put:
                self.done[row.index], slots[place] = answer, None
                continue
            answer.ids.append(token)
            row.last = token
            if row.seen is not None:
                row.seen[token] = True
            if top is not None:
                answer.logprobs.append(list(zip(top.indices[i].tolist(), top.values[i].tolist(), strict=True)))
            decision: Decision = row.watch(answer.ids) if row.watch else ""
            if isinstance(decision, list):
                row.forced = decision
            elif decision or len(answer.ids) == self.most:
                answer.finish = decision or "length"
                self.done[row.index], slots[place] = answer, None

    def _draw(self, logits: Tensor, rows: Sequence[_Row]) -> list[int]:
        """Greedy, or by inverting the cumulative distribution at the row's own number; nucleus first if top_p < 1.

        With a penalty the logits of tokens that occurred are divided by it where positive, else multiplied
        (Keskar et al. 2019, arXiv:1909.05858, section 4.1, as transformers does it).
        """
        sampling = self.sampling
        if self.penalty != 1:
            seen = torch.stack([row.seen for row in rows if row.seen is not None])
            logits = torch.where(seen, torch.where(logits > 0, logits / self.penalty, logits * self.penalty), logits)
        if sampling.temperature == 0:
            greedy: list[int] = logits.argmax(-1).tolist()
            return greedy
        if logits.device.type == "mps":  # which has no float64
            logits = logits.cpu()
        probabilities = torch.softmax(logits.double() / sampling.temperature, -1)
        order = None
        if sampling.top_p < 1:
            probabilities, order = most_probable(probabilities, sampling.top_p)
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
        cumulative = probabilities.cumsum(-1)
        draws = torch.tensor([row.draws[len(row.answer.ids)] for row in rows], device=logits.device)
        places = torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None], right=True)
        places = places.clamp(max=cumulative.shape[-1] - 1)
        tokens: list[int] = (places if order is None else order.gather(-1, places))[:, 0].tolist()
        return tokens


def most_probable(probabilities: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """The most probable tokens of each row (rows, vocabulary) that hold `mass` together, and some more: their
    probabilities, the highest first, and which tokens they are. Equal ones stand in the order of the vocabulary."""
    vocabulary = probabilities.shape[-1]
    count = min(NUCLEUS, vocabulary)
    while True:
        values, tokens = probabilities.topk(count, -1)
        # of tokens as probable as the last of them some may be missing: those must not be needed, nor by rounding
        whole = values.masked_fill(values <= values[:, -1:], 0.0).sum(-1)
        if count == vocabulary or bool((whole > mass + 1e-9).all()):
            break
        count = min(8 * count, vocabulary)
    tokens = tokens.sort(-1).values
    values, places = probabilities.gather(-1, tokens).sort(dim=-1, descending=True, stable=True)
    return values, tokens.gather(-1, places)


def cache_word(model: Any) -> str:
    """What this model's forward calls the cache of keys and values: transformers renamed it within version 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    ends: frozenset[int],
    rows: int,
    watch: Callable[[int], Callable[[list[int]], Decision]] | None = None,
    penalty: float = 1.0,
    most: int = 0,
) -> list[Answer]:
    """An answer for each prompt of token ids (not empty), at most `rows` of them decoding together.

    `ends`: tokens that end an answer. `watch(i)` gives what is called with the i-th answer's ids after each token, and
    may end it or put tokens in. `penalty`: on repeating a token. `most`: tokens of one answer, 0: `max_tokens`. Where
    the device runs out of memory the number of rows is halved and the call starts again.
    """
    most = most or sampling.max_tokens
    while True:
        try:
            return _Decoder(model, sampling, ends, rows, watch, penalty, most).run(prompts, seeds)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
            rows //= 2
