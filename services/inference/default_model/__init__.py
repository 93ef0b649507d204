"""The default model and its card: package data, made by `training/`."""
