"""Engines: each implements services/inference/domain/engine.py."""
