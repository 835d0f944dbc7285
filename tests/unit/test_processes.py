"""Processes end with their owner; a folder has one owner."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from components.errors import LockedError
from components.processes import lock_owner, locked


def start(script, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, **kwargs
    )


def gone(pid, within_s=5.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_locked_folder_names_its_owner(tmp_path):
    lock = tmp_path / ".lock"
    owner = start(f"""
        import pathlib, time
        from components.processes import locked
        with locked(pathlib.Path({str(lock)!r}), "it"):
            print("ready", flush=True)
            time.sleep(60)
    """)
    assert owner.stdout.readline() == "ready\n"
    with pytest.raises(LockedError, match=f"in use by process {owner.pid}"), locked(lock, "the folder"):
        pass
    owner.kill()
    owner.wait()
    with locked(lock, "the folder", wait_s=2.0):
        assert lock_owner(lock)["pid"] == os.getpid()


@pytest.mark.parametrize("how", ["die_with_parent()", "die_with(os.getppid())"])
def test_a_worker_dies_with_its_killed_owner(how):
    owner = start(f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", '''
        import os, time
        from components.processes import die_with, die_with_parent
        {how}
        print(os.getpid(), flush=True)
        time.sleep(60)
        '''.replace("\\n        ", "\\n")])
        time.sleep(60)
    """)
    worker = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(worker)


def test_a_component_behind_a_shell_dies_with_the_runner():
    code = (
        "import os, time; from components.processes import die_with; die_with({pid});"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    owner = start(f"""
        import os, subprocess, sys, time
        code = {code!r}.format(pid=os.getpid())
        subprocess.Popen(["sh", "-c", f"{{sys.executable}} -c '{{code}}'; true"])
        time.sleep(60)
    """)
    component = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(component)
