"""Questions about a picture. IMAGE stands where the picture is; `data.py` keeps its seed beside the conversation."""

from __future__ import annotations

import random

from training.pictures import NOTHING, Picture
from training.topics.message import Exchange, assistant

IMAGE = "<|image|>"
WHAT = (
    "What is in this image?", "What is this?", "What do you see?", "Describe the image.", "Describe this picture.",
    "What is in the picture?", "What does the image show?", "Tell me what you see.", "What's in this image?",
    "What can you see here?", "Please describe this image", "what is it", "Explain the picture.",
    "What's this a picture of?", "Look at this.", "What shape and colour is it?", "Which shape and color do you see?",
)  # fmt: skip
_COLOUR = (
    "What colour is it?", "What color is it?", "Which colour is this?", "What color is the shape?", "colour?",
    "What is the color of the {shape}?", "Which color does the {shape} have?", "What color is this {shape}?",
)  # fmt: skip
_SHAPE = (
    "What shape is it?", "Which shape is this?", "What shape do you see?", "shape?", "Name the shape.",
    "What kind of shape is in the image?",
)  # fmt: skip
_ANSWERS = ("A {thing}.", "The image shows a {thing}.", "I see a {thing}.", "It is a {thing}.", "This is a {thing}.")
_BLANK = (
    "I cannot tell what this is. I only know simple shapes and colours.",
    "I see no shape that I know. I can only name simple shapes and their colours.",
)


def _article(text: str) -> str:
    return text.replace(" a o", " an o").replace("A o", "An o")


def about(rng: random.Random, picture: Picture) -> Exchange:
    """A question about the picture and the answer; the picture stands before or after the text."""
    if picture.shape == NOTHING:
        question, answer = rng.choice([*WHAT, *_SHAPE]), rng.choice(_BLANK)
    elif (kind := rng.random()) < 0.7:
        question = rng.choice(WHAT)
        answer = _article(rng.choice(_ANSWERS).format(thing=f"{picture.colour} {picture.shape}"))
    elif kind < 0.85:
        question = rng.choice(_COLOUR).format(shape=picture.shape)
        answer = rng.choice([f"It is {picture.colour}.", f"The {picture.shape} is {picture.colour}."])
    else:
        question, answer = rng.choice(_SHAPE), _article(rng.choice(_ANSWERS).format(thing=picture.shape))
    content = question + IMAGE if rng.random() < 0.7 else IMAGE + question
    return [{"role": "user", "content": content}, assistant(answer)]
