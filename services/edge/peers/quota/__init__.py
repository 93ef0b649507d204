"""The edge's side of quota: what may be spent."""
