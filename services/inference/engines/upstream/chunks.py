"""An upstream's chunks as deltas, with token counts that end in the upstream's own.

A choice's finish_reason is held back until the usage is there, so that what the running count was too low by rides on
the last delta, which the edge delivers only when the hold covers it (docs/upstreams.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.inference.domain.engine import Delta, FinishReason, Usage
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.choice import ChoiceReader
from services.inference.engines.upstream.counting import ChoiceCount
from services.inference.engines.upstream.plausible import plausible_output, plausible_prompt
from services.inference.engines.upstream.refusals import failure_in_stream
from services.inference.engines.upstream.reported_usage import NOTHING, ReportedUsage, read_usage
from services.inference.engines.upstream.tokens.counter import PromptTokens, TokenCounter
from services.inference.engines.upstream.values import count, items, mapping, parse

DONE = b"[DONE]"
COUNTS = ("prompt", "output")  # of a usage, each believed or not


class ChunkReader:
    """Reads one answer."""

    def __init__(
        self,
        choices: int,
        max_tokens: int,
        new_call_id: Callable[[], str],
        tokens: TokenCounter,
        *,
        stops: Sequence[str] = (),
        running_counts: bool = False,
        logprobs: bool = False,
    ) -> None:
        """`tokens` counts what the server does not; `running_counts`: it reports each choice's count meanwhile.

        `logprobs`: they were asked for.
        """
        self.done = False
        self.disbelieved: list[str] = []  # of COUNTS
        self._choices = [
            ChoiceReader(index, ChoiceCount(max_tokens, tokens), stops, new_call_id, logprobs)
            for index in range(choices)
        ]
        self._max_tokens = max_tokens
        self._running_counts = running_counts
        self._usage = NOTHING
        self._ended_before_usage = 0  # choices that had ended when the last usage came

    @property
    def cut(self) -> bool:
        """Whether a choice was ended here, at a stop sequence: the upstream's usage counts more than was wanted."""
        return any(choice.cut for choice in self._choices)

    @property
    def overrun(self) -> bool:
        """Whether the upstream generates more than it was asked for."""
        return any(choice.count.overrun for choice in self._choices if not choice.cut)

    @property
    def guesses(self) -> bool:
        """Whether tokens of a choice are estimated so far."""
        return any(choice.count.guessed for choice in self._choices if choice.count.tokens)

    def look(self) -> tuple[int, bool, bool]:
        """How far the answer is, asked after each event.

        A number that grows with all output, also with what is held back; whether nothing that may follow is of use; and
        whether every choice has ended, so that only the usage can follow.
        """
        progress, overrun, cut, complete = 0, False, False, True
        for choice in self._choices:
            progress += choice.output_bytes + choice.count.tokens
            complete = complete and choice.reason is not None
            if choice.cut:
                cut = True
            elif choice.count.overrun:
                overrun = True
        return progress, self.done or overrun or (cut and complete), complete

    @property
    def unseen(self) -> list[int]:
        """The choices of which nothing came; some servers ignore `n` and give one."""
        return [choice.index for choice in self._choices if not choice.seen]

    @property
    def seen_complete(self) -> bool:
        """Whether something came and every choice of which something came has ended."""
        seen = [choice for choice in self._choices if choice.seen]
        return bool(seen) and all(choice.reason is not None for choice in seen)

    def read(self, data: bytes) -> list[Delta]:
        """The output that one event brings. Raises TargetFailed; InvalidRequest when the event says so."""
        data = data.strip()
        if data == DONE:
            self._end()
            return []
        if not data:
            return []
        try:
            chunk = parse(data)
        except ValueError:
            raise TargetFailed("the upstream sent an event that is not JSON", "protocol") from None
        if not isinstance(chunk, dict):
            raise TargetFailed("the upstream sent a chunk of another form than OpenAI's", "protocol")
        return self._read(chunk)

    def _end(self) -> None:
        """[DONE]: choices that were not said to have ended have ended all the same."""
        self.done = True
        for choice in self._choices:
            if choice.seen and choice.reason is None:
                choice.reason = FinishReason.STOP

    def _read(self, chunk: dict[str, Any]) -> list[Delta]:
        if error := chunk.get("error") or (chunk if chunk.get("object") == "error" else None):
            raise failure_in_stream(error)
        told = items(chunk.get("choices"))
        usage = read_usage(chunk["usage"]) if chunk.get("usage") else NOTHING
        exact = self._running_count(chunk, usage) if told else None
        found = []
        for each in told:
            item = mapping(each)
            delta = self._choice(item).read(item, exact)
            if delta is not None:
                found.append(delta)
        if usage is not NOTHING:
            self._note(usage, alone=not told)
        return found

    def _choice(self, item: dict[str, Any]) -> ChoiceReader:
        index = item.get("index")
        number = index if type(index) is int and index >= 0 else 0 if index is None else count(index)
        if number is None or number >= len(self._choices):
            raise TargetFailed("the upstream sent a choice that was not asked for", "protocol")
        return self._choices[number]

    def _running_count(self, chunk: dict[str, Any], usage: ReportedUsage) -> int | None:
        """How many tokens the choice has of which this chunk brings something, by the upstream's own count."""
        if usage is NOTHING and "timings" not in chunk:
            return None
        timings = count(mapping(chunk.get("timings")).get("predicted_n"))  # llama.cpp's
        if timings is not None:
            return timings
        if self._running_counts:
            return usage.output or None
        # Where nothing is known of the server, a number beside a choice may be the whole answer's, or nonsense.
        return min(usage.output, self._max_tokens) if usage.output and len(self._choices) == 1 else None

    def _note(self, usage: ReportedUsage, *, alone: bool) -> None:
        """A usage that stands alone is the whole answer's; one beside a choice is, when there is but that one.

        llama.cpp sends one behind the end of each choice (seen), so these add up. Any other later one replaces what
        was known.
        """
        if usage == NOTHING or not (alone or len(self._choices) == 1):
            return
        ended = sum(choice.reason is not None for choice in self._choices)
        if alone and 0 < self._ended_before_usage < ended:
            self._usage = self._usage.plus(usage)
        else:
            self._usage = self._usage.updated(usage)
        self._ended_before_usage = ended if alone else 0

    def finish(self, prompt: PromptTokens) -> tuple[list[Delta], Usage]:
        """The last deltas, one for each choice that was seen, and the usage. Raises TargetFailed when it was cut off.

        `prompt` is what was counted before. Each of the upstream's counts is taken where it is plausible, else ours
        (docs/decisions/0018-counting-upstreams.md).
        """
        if not self.seen_complete and not self.overrun:
            raise TargetFailed("the upstream's answer was cut off", "cut")
        known = self._usage.output if not (self.overrun or self.cut) else None
        deltas = [choice.finish() for choice in self._choices if choice.seen]
        shown = sum(choice.shown_tokens for choice in self._choices)
        if self.cut and not shown:  # a stop sequence stood at the very beginning: it was generated, and is an answer
            deltas[0].tokens = shown = 1
        if believes_output := plausible_output(known, self._max_tokens * len(self._choices)):
            deltas[0].tokens += max(0, believes_output - shown)
        believes_prompt = plausible_prompt(self._usage.prompt, prompt)
        self.disbelieved = [
            name
            for name, reported, believed in (
                ("prompt", self._usage.prompt, believes_prompt),
                ("output", known, believes_output),
            )
            if reported is not None and not believed
        ]
        guessed = not believes_output and any(choice.count.guessed for choice in self._choices)
        tokens = believes_prompt or prompt.tokens, believes_output or shown
        estimated = guessed or (not believes_prompt and prompt.estimated)
        return deltas, Usage(*tokens, estimated, *_details(self._usage, *tokens))


def _details(usage: ReportedUsage, prompt: int, output: int) -> tuple[int | None, int | None]:
    """Cached and reasoning tokens; never more than what they are part of."""
    cached = None if usage.cached is None else min(usage.cached, prompt)
    return cached, None if usage.reasoning is None else min(usage.reasoning, output)
