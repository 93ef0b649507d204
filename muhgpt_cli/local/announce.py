"""What `muhgpt up` says while it starts, runs and stops."""

from __future__ import annotations

import os

from rich.panel import Panel
from rich.status import Status

from muhgpt_cli import output

CURL = """curl {base_url}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "muh-chat", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""


class Announcer:
    """Progress goes to stderr; what is ready goes to stdout, as a panel or as one line of JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._status: Status | None = None

    def progress(self, sentence: str) -> None:
        """A step of starting or stopping: the line in motion at a terminal, a line of its own elsewhere."""
        if not output.stderr.is_terminal:
            self.event(sentence)
            return
        if self._status is None:
            self._status = output.stderr.status(sentence)
            self._status.start()
        self._status.update(sentence)

    def settle(self) -> None:
        """Ends the line in motion."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def event(self, sentence: str) -> None:
        """Something that happened while running. Whatever became of stderr, this neither fails nor waits
        (muhgpt_cli/streams.py)."""
        self.settle()
        output.stderr.print(sentence, soft_wrap=True)

    def ready(self, base_url: str, key: str | None, email: str, data_dir: str) -> None:
        """The system serves. The key is shown here and never again. Raises OutputLost."""
        self.settle()
        if self._as_json:
            output.print_json({"base_url": base_url, "api_key": key, "pid": os.getpid()})
            return
        if key is None:
            lines = [
                f"Base URL  {base_url}",
                "API key   shown at the first start; another: muhgpt keys create --account EMAIL",
            ]
        else:
            lines = [f"Base URL  {base_url}", f"API key   {key}", f"          of {email}; shown this once, keep it"]
        lines.append(f"Data      {data_dir}")
        output.stdout.print(Panel("\n".join(lines), title="MUHGPT is ready", title_align="left", expand=False))
        output.stdout.print(CURL.format(base_url=base_url, key=key or "$MUHGPT_API_KEY"), soft_wrap=True)
        output.stdout.print("\nCtrl-C stops it.")
