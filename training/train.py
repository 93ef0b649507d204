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
from training.batches import SAID, Batch, Example, batches, load_examples
from training.model import Model, ModelConfig, count_parameters
from training.vision import Eye
from training.vision import load as load_eye

HELD_OUT = 400


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast: `minutes` of training, `tokens` a batch at most; rates are per step."""

    minutes: float = 100
    tokens: int = 4096
    matrix_rate: float = 4e-3
    other_rate: float = 4e-3
    weight_decay: float = 0.02
    highest: float = 1.0
    warmup: float = 0.03
    cooldown: float = 0.5
    clip: float = 1.0
    seed: int = 20260101
    threads: int = 1
    save_every: int = 400


def rate_factor(done: float, config: TrainConfig) -> float:
    """Share of the full learning rate when `done` of the time is over: up, level, then straight down to a fiftieth."""
    if done < config.warmup:
        return 0.02 + done / config.warmup * (config.highest - 0.02)
    return max(0.02, config.highest * min(1.0, (1.0 - done) / config.cooldown))


def optimizers(model: Model, config: TrainConfig) -> list[Optimizer]:
    """Muon for the layers' matrices (it learns more from each token), AdamW for embedding and norms."""
    matrices = [p for part in (model.blocks, model.projector) for p in part.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    muon = Muon(matrices, lr=config.matrix_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
    adam = AdamW(others, lr=config.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return [muon, adam]


@dataclass(frozen=True)
class Sight:
    """The eye, which learns no more, and the token whose places its features take."""

    eye: Eye
    image: int

    def features(self, batch: Batch) -> Tensor | None:
        """What the eye makes of a batch's pictures."""
        if batch.pictures is None:
            return None
        with torch.no_grad():
            return self.eye(batch.pictures)


def learned_loss(model: Model, sight: Sight, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats per learned token. Others get no logits: those are a fifth of the work.

    In single precision: bfloat16 is four times slower on processors without instructions for it.
    """
    states = model(batch.inputs, sight.features(batch), sight.image)
    return F.cross_entropy(model.logits(states[batch.learned]), batch.targets[batch.learned])


@torch.no_grad()
def answer_loss(model: Model, sight: Sight, examples: list[Example], tokenizer: bpe.Tokenizer) -> float:
    """Loss on held-out conversations, in nats per token of the assistant's turns (and some of the others')."""
    total = count = 0.0
    stream = batches(examples, tokenizer, 8192, 0, sight.eye.config.side)
    while count < sum(e.said.count(SAID) for e in examples):
        batch = next(stream)
        size = float(batch.learned.sum())
        total, count = total + float(learned_loss(model, sight, batch)) * size, count + size
    return total / count


def step_once(model: Model, sight: Sight, chosen: list[Optimizer], batch: Batch, factor: float, clip: float) -> float:
    """One update; returns the loss before it, in nats per token."""
    for optimizer in chosen:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor
    loss = learned_loss(model, sight, batch)
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


# For going on with a model that has learned: gently, and falling from the start.
MORE = {"highest": 0.3, "warmup": 0.02, "cooldown": 0.98}


def train(build: Path, config: TrainConfig, *, resume: Path | None = None) -> None:
    """Train on build/conversations.jsonl and keep build/model.pt up to date; `resume`: from this model's weights."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    tokenizer = bpe.load(build / "tokenizer.json")
    model = load(resume)[0].train() if resume else Model(ModelConfig(vocab=tokenizer.get_vocab_size()))
    sight = Sight(load_eye(build / "eye.pt"), tokenizer.token_to_id(bpe.IMAGE))
    examples = load_examples(build / "conversations.jsonl", tokenizer, model.config.context, sight.eye.config.tokens)
    held_out, rest = examples[:HELD_OUT], examples[HELD_OUT:]
    print(f"{count_parameters(model):,} parameters, {sum(len(e.ids) for e in rest):,} tokens", flush=True)
    chosen = optimizers(model, config)
    stream = batches(rest, tokenizer, config.tokens, config.seed, sight.eye.config.side)
    started, seen, smooth, done, step = time.monotonic(), 0, 0.0, 0.0, 0
    while done < 1:
        batch = next(stream)
        seen += batch.inputs.numel()
        loss = step_once(model, sight, chosen, batch, rate_factor(done, config), config.clip)
        smooth = loss if step == 0 else 0.95 * smooth + 0.05 * loss
        seconds = time.monotonic() - started
        done, step = seconds / (60 * config.minutes), step + 1
        if step % 50 == 0:
            print(f"{step:5d}  loss {smooth:.3f}  {seen / seconds:,.0f} tok/s  {seconds:.0f} s", flush=True)
        if step % config.save_every == 0 or done >= 1:
            facts = {"steps": step, "seconds": seconds, "tokens": seen}
            facts["answer_loss"] = answer_loss(model, sight, held_out, tokenizer)
            save(build / "model.pt", model, facts)
            print(json.dumps(facts), flush=True)


def main() -> None:
    """Train the default model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes)
    parser.add_argument("--threads", type=int, default=TrainConfig.threads)
    parser.add_argument("--resume", type=Path, help="go on with this model, gently, for instance on new conversations")
    parser.add_argument("--highest", type=float, help="share of the full rate to reach; less changes less")
    arguments = parser.parse_args()
    options = {"minutes": arguments.minutes, "threads": arguments.threads, **(MORE if arguments.resume else {})}
    if arguments.highest is not None:
        options["highest"] = arguments.highest
    train(arguments.build, TrainConfig(**options), resume=arguments.resume)


if __name__ == "__main__":
    main()
