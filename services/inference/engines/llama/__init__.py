"""llama.cpp in a supervised worker process: worker (the process), supervisor (its life), client (its HTTP), engine."""
