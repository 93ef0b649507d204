"""The default model and its card: package data, made by `training/`."""

from pathlib import Path

FILE = Path(__file__).with_name("muh-small.gguf")
PROJECTOR = FILE.with_name("muh-small-projector.gguf")
