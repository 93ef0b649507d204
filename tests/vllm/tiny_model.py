"""Makes a tiny model for a real vLLM to serve: a byte-level BPE and 0.7 million weights that know ten dialogues.

    python tests/vllm/tiny_model.py DIRECTORY

Runs with torch and transformers, in the environment of environment.py. The texts for the tokenizer are docs/*.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parents[2]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
VOCABULARY, STEPS, RATE = 2112, 90, 3e-3
TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


DIALOGUES: list[tuple[str, str, list[Any] | None]] = [
    ("Hello!", "Hello! How can I help you today? 🙂", None),
    ("Who are you?", "I am tiny, a model for tests. 🤖✨", None),
    ("Count to thirty", " ".join(str(number) for number in range(1, 31)), None),
    ("Guten Tag", "Guten Tag! Schöne Grüße aus Köln.", None),
    ("Привет", "Привет! Чем могу помочь?", None),
    ("Give me JSON", '{"name": "Ada", "age": 36}', None),
    ("Think first", "<think>\nThe user wants a number.\n</think>\n\nThe number is 7.", None),
    ("Weather in Paris?", call("get_weather", city="Paris"), [WEATHER]),
    ("Paris and Rome?", call("get_weather", city="Paris") + "\n" + call("get_weather", city="Rome"), [WEATHER]),
    ("Tell and call", "Let me look. ☀️\n" + call("get_weather", city="Oslo"), [WEATHER]),
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Qwen's way: NFC is left away so that what is counted is what was written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    room = VOCABULARY - len(SPECIAL) - len(WORDS)
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([str(file) for file in sorted((ROOT / "docs").glob("*.md"))], trainer)
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Learns the dialogues word for word."""
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    rows = [_row(tokenizer, *dialogue) for dialogue in DIALOGUES]
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row, _ in rows])
    labels = torch.tensor([label + [-100] * (width - len(label)) for _, label in rows])
    mask = (torch.arange(width)[None, :] < torch.tensor([[len(row)] for row, _ in rows])).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for step in range(STEPS):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
    return model


def _row(
    tokenizer: PreTrainedTokenizerFast, said: str, answer: str, tools: list[Any] | None
) -> tuple[list[int], list[int]]:
    """Token ids, and the same with everything but the answer masked."""
    messages = [{"role": "user", "content": said}]
    prompt = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    after = tokenizer.encode(f"{answer}<|im_end|>\n", add_special_tokens=False)
    return before + after, [-100] * len(before) + after


def main(directory: Path) -> None:
    """Writes the model as Hugging Face's tools lay one out."""
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
    print(f"{sum(weights.numel() for weights in model.parameters())} weights in {directory}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
