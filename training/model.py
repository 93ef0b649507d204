"""The network: a small Llama (RMSNorm, rotary positions, grouped queries, SwiGLU, tied embeddings)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network. All widths are multiples of 32, the block size of the Q8_0 format."""

    vocab: int = 3072
    width: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 3
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    eye_width: int = 96

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads


def rotary_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position: two tensors [context, head_width / 2]."""
    pairs = torch.arange(0, config.head_width, 2).float() / config.head_width
    angles = torch.outer(torch.arange(config.context).float(), config.rope_base**-pairs)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring channels of x [batch, heads, time, head_width].

    llama.cpp's `llama` architecture pairs neighbours too, so the export needs no permutation of q and k rows
    (weights in the Hugging Face order, which pairs the two halves, would).
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Causal attention with fewer key/value heads than query heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kv_width = config.kv_heads * config.head_width
        self.q = nn.Linear(config.width, config.width, bias=False)
        self.k = nn.Linear(config.width, kv_width, bias=False)
        self.v = nn.Linear(config.width, kv_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        batch, time, _ = x.shape
        return x.view(batch, time, heads, self.config.head_width).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[batch, time, width] to the same shape."""
        c = self.config
        q = rotate(self._split(self.q(x), c.heads), cos, sin)
        k = rotate(self._split(self.k(x), c.kv_heads), cos, sin)
        v = self._split(self.v(x), c.kv_heads)
        groups = c.heads // c.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer: attention, then a gated feed-forward, each on the normalised residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.width, config.norm_eps)
        self.gate = nn.Linear(config.width, config.feed_forward, bias=False)
        self.up = nn.Linear(config.width, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[batch, time, width] to the same shape."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y = self.feed_forward_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Projector(nn.Module):
    """What the eye saw, in the language model's own terms: llama.cpp's `mlp` projector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.first = nn.Linear(config.eye_width, config.width)
        self.second = nn.Linear(config.width, config.width)

    def forward(self, features: Tensor) -> Tensor:
        """[pictures, tokens, eye_width] to [pictures, tokens, width]."""
        return self.second(F.gelu(self.first(features), approximate="tanh"))


class Model(nn.Module):
    """Token ids in, logits out; the output layer is the embedding itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, config.norm_eps)
        self.projector = Projector(config)
        cos, sin = rotary_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Block):  # the residual stream starts as the embedding alone
            nn.init.zeros_(module.attention.out.weight)
            nn.init.zeros_(module.down.weight)

    def forward(self, ids: Tensor, features: Tensor | None = None, image: int = -1) -> Tensor:
        """[batch, time] token ids to the last layer's states [batch, time, width].

        The eye's features [pictures, tokens, eye_width] take the places of the tokens `image`, in order.
        """
        time = ids.shape[1]
        x = self.embedding(ids)
        if features is not None:
            x = x.masked_scatter((ids == image).unsqueeze(-1), self.projector(features))
        for block in self.blocks:
            x = block(x, self.cos[:time], self.sin[:time])
        return self.norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """[..., width] states to [..., vocab] logits."""
        return F.linear(states, self.embedding.weight)

    @torch.no_grad()
    def greedy(
        self, ids: list[int], stop: int, limit: int = 200, features: Tensor | None = None, image: int = -1
    ) -> list[int]:
        """Continue a prompt with the likeliest tokens, up to `limit` or the token `stop` (not included)."""
        answer: list[int] = []
        while len(answer) < limit:
            states = self(torch.tensor([ids + answer]), features, image)
            token = int(self.logits(states[0, -1]).argmax())
            if token == stop:
                break
            answer.append(token)
        return answer


def count_parameters(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in model.parameters())
