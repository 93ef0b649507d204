"""The edge's side of auth: whose key it is."""
