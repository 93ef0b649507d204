"""Training: Muon on the matrices, AdamW on the rest, a level then falling rate, regular checkpoints."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW, Muon, Optimizer

from training import tokenizer as bpe
from training.batches import Batch, Example, batches, load_examples
from training.model import Model, ModelConfig, count_parameters

HELD_OUT = 400


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast. `tokens` is the size of a batch; rates are per step."""

    steps: int = 1250
    tokens: int = 3072
    matrix_rate: float = 4e-3
    other_rate: float = 4e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    cooldown: float = 0.5
    clip: float = 1.0
    seed: int = 20260101
    threads: int = 2
    save_every: int = 125


def rate_factor(step: int, config: TrainConfig) -> float:
    """Share of the full learning rate at a step: up, level, then straight down to a fiftieth."""
    done = step / config.steps
    if done < config.warmup:
        return (step + 1) / (config.warmup * config.steps + 1)
    return max(0.02, min(1.0, (1.0 - done) / config.cooldown))


def optimizers(model: Model, config: TrainConfig) -> list[Optimizer]:
    """Muon for the layers' matrices (it learns more from each token), AdamW for embedding and norms."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    muon = Muon(matrices, lr=config.matrix_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
    adam = AdamW(others, lr=config.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return [muon, adam]


def weighted_loss(model: Model, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats per token, each token counted by its weight."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.logits(model(batch.inputs))
    each = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none")
    weights = batch.weights.flatten()
    return (each * weights).sum() / weights.sum()


@torch.no_grad()
def answer_loss(model: Model, examples: list[Example], tokenizer: bpe.Tokenizer) -> float:
    """Loss on held-out conversations, in nats per token of the assistant's turns only."""
    total = count = 0.0
    stream = batches(examples, tokenizer, 8192, seed=0)
    while count < sum(e.weights[1:].count(1.0) for e in examples):
        batch = next(stream)
        answers = Batch(batch.inputs, batch.targets, (batch.weights == 1.0).float())
        size = float(answers.weights.sum())
        total, count = total + float(weighted_loss(model, answers)) * size, count + size
    return total / count


def step_once(model: Model, chosen: list[Optimizer], batch: Batch, factor: float, clip: float) -> float:
    """One update; returns the loss before it, in nats per token."""
    for optimizer in chosen:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor
    loss = weighted_loss(model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in chosen:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def save(path: Path, model: Model, facts: dict[str, float]) -> None:
    """Write the weights with what is needed to build the model again; never leaves half a file."""
    partial = path.with_suffix(".partial")
    torch.save({"config": asdict(model.config), "weights": model.state_dict(), "facts": facts}, partial)
    partial.replace(path)


def load(path: Path) -> tuple[Model, dict[str, float]]:
    """Read a checkpoint: the model, and facts about its training."""
    checkpoint = torch.load(path, weights_only=True)
    model = Model(ModelConfig(**checkpoint["config"]))
    model.load_state_dict(checkpoint["weights"])
    return model.eval(), checkpoint["facts"]


def train(build: Path, config: TrainConfig) -> None:
    """Train on build/conversations.jsonl and keep build/model.pt up to date."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    tokenizer = bpe.load(build / "tokenizer.json")
    model = Model(ModelConfig(vocab=tokenizer.get_vocab_size()))
    examples = load_examples(build / "conversations.jsonl", tokenizer, model.config.context)
    held_out, rest = examples[:HELD_OUT], examples[HELD_OUT:]
    print(f"{count_parameters(model):,} parameters, {sum(len(e.ids) for e in rest):,} tokens", flush=True)
    chosen = optimizers(model, config)
    stream = batches(rest, tokenizer, config.tokens, config.seed)
    started, seen, smooth = time.monotonic(), 0, 0.0
    for step in range(config.steps):
        batch = next(stream)
        seen += batch.inputs.numel()
        loss = step_once(model, chosen, batch, rate_factor(step, config), config.clip)
        smooth = loss if step == 0 else 0.95 * smooth + 0.05 * loss
        seconds = time.monotonic() - started
        if step % 20 == 0:
            print(f"{step:5d}  loss {smooth:.3f}  {seen / seconds:,.0f} tok/s  {seconds:.0f} s", flush=True)
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            facts = {"steps": step + 1, "seconds": seconds, "tokens": seen}
            facts["answer_loss"] = answer_loss(model, held_out, tokenizer)
            save(build / "model.pt", model, facts)
            print(json.dumps(facts), flush=True)


def main() -> None:
    """Train the default model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--threads", type=int, default=TrainConfig.threads)
    arguments = parser.parse_args()
    train(arguments.build, TrainConfig(steps=arguments.steps, threads=arguments.threads))


if __name__ == "__main__":
    main()
