"""The edge's side of auth, quota and inference: one long-lived stream each, and a few unary calls."""
