"""An outage in the log: begun, lasting, ended; not a line for each thing that it breaks."""

from __future__ import annotations

from servicekit.observability.outage_log import OutageLog
from tests.fakes import FakeClock


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, fields))


def test_a_long_outage_is_a_line_in_ten_seconds_and_one_at_its_end() -> None:
    clock, lines = FakeClock(), Lines()
    outage = OutageLog(lines, "away", "back", now=clock.monotonic)
    for _ in range(900):
        outage.failed(error="OSError")
        clock.advance(0.1)
    assert outage.lasting
    clock.advance(2)
    outage.succeeded()
    outage.succeeded()
    assert [event for _, event, _ in lines.lines] == ["away"] * 9 + ["back"]
    assert lines.lines[-1] == ("info", "back", {"seconds": 92.0, "failures": 900})


def test_an_outage_that_flickers_is_one() -> None:
    clock, lines = FakeClock(), Lines()
    outage = OutageLog(lines, "away", "back", now=clock.monotonic)
    for _ in range(50):
        outage.failed()
        outage.succeeded()
        clock.advance(0.05)
    assert [event for _, event, _ in lines.lines] == ["away"]
    clock.advance(1)
    outage.succeeded()
    assert [event for _, event, _ in lines.lines] == ["away", "back"]
    clock.advance(1)
    outage.failed()
    assert [event for _, event, _ in lines.lines] == ["away", "back", "away"]
