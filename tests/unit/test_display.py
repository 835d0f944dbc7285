"""Progress: events in a file, bars on a terminal, lines in a log."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import EventFile, LogLines, Progress
from ssfr.pipelines.display import TerminalBars, display, following


def test_events_written_by_one_process_are_shown_by_another(tmp_path):
    path = tmp_path / "events.jsonl"
    stream = io.StringIO()
    script = (
        "import pathlib, sys; from ssfr.components.runtime.progress import EventFile, Progress;"
        "p = Progress(EventFile(pathlib.Path(sys.argv[1])));"
        "p.say('hello'); p.warn('careful'); p.error('broken'); p.done('catalog', '/x');\n"
        "with p.task('maps', 3, 'galaxies') as t: t.advance(2, loss=0.5); t.advance(1)"
    )
    with following(path, LogLines(stream)) as heard:
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        assert str(heard.wait_for("catalog")) == "/x"
    assert heard.errors == ["broken"]
    shown = stream.getvalue()
    assert "hello\n" in shown
    assert "warning: careful" in shown
    assert "maps: 3/3 galaxies, loss 0.5" in shown
    assert "broken" not in shown


def test_half_a_line_waits_for_its_end(tmp_path):
    path = tmp_path / "events.jsonl"
    stream = io.StringIO()
    line = json.dumps({"kind": "say", "text": "whole"}) + "\n"
    with following(path, LogLines(stream)), path.open("w") as events:
        events.write(line[:10])
        events.flush()
        time.sleep(0.5)
        events.write(line[10:])
    assert stream.getvalue() == "whole\n"


def test_a_broken_line_does_not_hide_the_error_after_it(tmp_path):
    path = tmp_path / "events.jsonl"
    stream = io.StringIO()
    with following(path, LogLines(stream)) as heard, path.open("w") as events:
        events.write('{"kind": "task", "lab\n')
        events.flush()
        Progress(EventFile(path)).error("the reason")
    assert heard.errors == ["the reason"]


def test_a_closed_terminal_does_not_hide_what_the_run_said(tmp_path):
    class Closed:
        def emit(self, event):
            raise BrokenPipeError

    path = tmp_path / "events.jsonl"
    progress = Progress(EventFile(path))
    with following(path, Closed()) as heard:
        progress.done("catalog", "/x")
        assert heard.wait_for("catalog") == Path("/x")
        progress.error("the reason")
    assert heard.errors == ["the reason"]


def test_lines_nobody_reads_do_not_end_the_work():
    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    sent = Closed()
    Progress(LogLines(sent)).say("hello")
    assert "hello" in sent.getvalue()


def test_an_end_that_is_never_told_of_is_said_in_one_line(tmp_path):
    path = tmp_path / "events.jsonl"
    with (
        following(path, LogLines(io.StringIO())) as heard,
        pytest.raises(InputError, match="that catalog ended"),
    ):
        heard.wait_for("catalog", timeout_s=0.1)


def test_rate_counts_only_what_this_run_did():
    events = []

    class Keep:
        def emit(self, event):
            events.append(event)

    with Progress(Keep()).task("epochs", 100, "epochs", done=90) as task:
        time.sleep(0.05)
        task.advance(5)
    assert events[0]["done"] == 90
    assert events[-1]["done"] == 95
    assert events[-1]["rate"] < 5 / 0.05 + 1


@pytest.mark.parametrize("terminal", [True, False])
def test_display_suits_where_it_goes(terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with display(console) as sink:
        assert isinstance(sink, TerminalBars if terminal else LogLines)
        progress = Progress(sink)
        progress.say("[not markup]")
        with progress.task("training", 2, "epochs") as task:
            task.advance(1, loss=0.25)
            task.advance(1, loss=0.125)
    assert "[not markup]" in stream.getvalue()
    assert "training" in stream.getvalue()


def test_a_full_disk_does_not_hide_the_event(tmp_path, capsys):
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")
    Progress(EventFile(path)).error("the reason")
    assert "the reason" in capsys.readouterr().err
