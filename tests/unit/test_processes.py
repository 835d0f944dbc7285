"""Processes end with their owner; a folder has one owner."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ssfr.components.errors import InputError, LockedError
from ssfr.components.runtime.processes import lock_owner, locked, owner_on_this_machine
from ssfr.components.steps.step import LOCK


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
        from ssfr.components.runtime.processes import locked
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


def test_an_owner_is_who_still_holds_the_lock(tmp_path):
    lock = tmp_path / ".lock"
    assert owner_on_this_machine(lock) is None
    lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    with pytest.raises(LockedError, match="its owner was killed"):
        owner_on_this_machine(lock)
    with locked(lock, "it"):
        assert owner_on_this_machine(lock) == os.getpid()
    assert owner_on_this_machine(lock) is None
    with locked(lock, "it"):
        lock.write_text(json.dumps({"pid": 1, "host": "another.example"}))
        assert owner_on_this_machine(lock) is None


def test_a_step_does_not_go_on_after_a_killed_owner_and_says_so(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    owner = {"pid": int(ended.stdout), "host": socket.gethostname()}
    (tmp_path / LOCK).write_text(json.dumps(owner))
    code = "import sys; from ssfr.components.steps.step import open_step\n"
    code += "from ssfr.components.catalog.connections import CATALOG\n"
    code += "with open_step(CATALOG, sys.argv[1], '{}') as step: print(step.name)"
    step = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert step.returncode == 1 and step.stdout == ""
    assert "its owner was killed" in step.stderr


def test_an_orphan_does_not_take_the_next_run_for_its_owner(tmp_path):
    code = "import sys, ssfr.components.runtime.processes as p; sys.stdin.readline()\n"
    code += "print(p.owner_on_this_machine(p.Path(sys.argv[1])))"
    run = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    orphan = subprocess.Popen(run, **pipes)
    time.sleep(0.1)
    with locked(tmp_path / ".lock", "it"):
        said = orphan.communicate("\n")[1]
        assert "its owner was killed" in said
        own = subprocess.run(run, input="\n", capture_output=True, text=True, check=True)
        assert own.stdout.strip() == str(os.getpid())


def test_where_the_kernel_can_not_tell_of_an_end_it_is_looked_for():
    owner = start("""
        import subprocess, sys, time
        code = "import os, time; del os.pidfd_open; from ssfr.components.runtime.processes import die_with;"
        code += "die_with(os.getppid()); print(os.getpid(), flush=True); time.sleep(60)"
        subprocess.Popen([sys.executable, "-c", code])
        time.sleep(60)
    """)
    worker = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(worker)


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()
    said = r"the folder: can't write \.lock there: Is a directory"
    with pytest.raises(InputError, match=said), locked(tmp_path / ".lock", "the folder"):
        pass


def test_a_worker_dies_with_its_killed_owner():
    owner = start("""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", '''
        import os, time
        from ssfr.components.runtime.processes import die_with
        die_with(os.getppid())
        print(os.getpid(), flush=True)
        time.sleep(60)
        '''.replace("\\n        ", "\\n")])
        time.sleep(60)
    """)
    worker = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(worker)


def test_a_forked_worker_that_waits_for_work_dies_with_its_pool():
    """The server that forked it lives as long as it does: neither would ever end."""
    owner = start("""
        import multiprocessing, os, time
        from concurrent.futures import ProcessPoolExecutor
        from ssfr.components.runtime.processes import die_with
        context = multiprocessing.get_context("forkserver")
        pool = ProcessPoolExecutor(1, context, die_with, (os.getpid(),))
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
    """)
    worker = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(worker)


def test_a_component_behind_a_shell_dies_with_the_runner():
    code = (
        "import os, time; from ssfr.components.runtime.processes import die_with; die_with({pid});"
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
