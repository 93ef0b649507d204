"""`python -m muhgpt_cli.bootstrap`: the Secrets of a trial cluster, made inside it (docs/kubernetes.md)."""
