"""The edge's process: one worker, or several under a supervisor."""
