"""The edge's side of inference: models and generations."""
