#!/usr/bin/python3
"""Runs the job that lies on the share `job`, by the contract of docs/exec.md: run_job.py JOB WORK [ACCOUNT].

As root it becomes ACCOUNT for the command, and stays root itself, so that it can end whatever the command has started.
Its names are relative to the job's folder: on a share each step of a path is asked for again.
"""

import ctypes
import fcntl
import json
import os
import pwd
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

MAX_PIECE = 1 << 20
MOST_WAITING = 16
POLL, MOST_POLL = 0.02, 0.2  # seconds; each look at the share costs the emulated CPU a millisecond
PR_SET_CHILD_SUBREAPER = 36
F_SETPIPE_SZ = 1031


def put(name, content):
    """A file that is seen whole or not at all; one that is empty is whole when it is there."""
    made = Path(f"{name}.part" if content else name)
    with made.open("xb") as file:
        file.write(content)
    if content:
        made.rename(name)


def gathered(pipe):
    """What is there by now, as one piece: each costs several round trips."""
    piece = os.read(pipe, MAX_PIECE)
    while piece and len(piece) < MAX_PIECE and select.select([pipe], [], [], 0)[0]:
        more = os.read(pipe, MAX_PIECE - len(piece))
        if not more:
            break
        piece += more
    return piece


def send(name, pipe, killed):
    """What the command prints, piece by piece; it is held up while nobody takes them, unless it is to die anyway."""
    number, free = 0, MOST_WAITING
    while True:
        piece = gathered(pipe)
        while number >= free and not killed.is_set():
            # They are taken in turn: when this one is gone, so are those before it.
            for ahead in (MOST_WAITING // 2, MOST_WAITING):
                if not Path(f"{name}.{number - ahead}").exists():
                    free = number - ahead + MOST_WAITING + 1
                    break
            else:
                time.sleep(POLL)
        put(f"{name}.{number}", piece)
        number += 1
        if not piece:
            return


def feed(pipe):
    """The host's pieces to the command; one that has closed its input, or ended, wants no more."""
    number, pause = 0, POLL
    with os.fdopen(pipe, "wb", buffering=0) as given:
        while True:
            path = Path(f"stdin.{number}")
            try:
                piece = path.read_bytes()
            except FileNotFoundError:
                time.sleep(pause)
                pause = min(pause * 1.5, MOST_POLL)
                continue
            path.unlink()
            number, pause = number + 1, POLL
            if not piece:
                return
            try:
                while piece:
                    piece = piece[given.write(piece) :]
            except BrokenPipeError:
                piece = b""


def below():
    """Every process that we have started, however often it has forked: orphans come to us (prctl(2), subreaper)."""
    above = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                above[int(entry.name)] = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = set()
    for pid in above:
        at = pid
        while at in above and at != os.getpid():
            at = above[at]
        if at == os.getpid() and pid != at:
            found.add(pid)
    return found


def tell(which):
    for pid in below():
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            continue


def clear():
    """Nothing of it is left: what forks while it is killed is killed with the next look."""
    while True:
        tell(signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(POLL)


def watch(over, killed, is_wanted):
    """The host's orders to end it, and whether anybody still waits for it."""
    asked = False
    while not over.wait(MOST_POLL):
        if not is_wanted() or Path("kill").exists():
            killed.set()
            tell(signal.SIGKILL)
        elif not asked and Path("stop").exists():
            asked = True
            tell(signal.SIGTERM)


def widen(pipe):
    """Room for a whole piece; who may not have it does with less."""
    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, MAX_PIECE)
    except OSError:
        return


def account_of(name):
    """What Popen needs to become it, and the environment that a log-on would give it."""
    entry = pwd.getpwnam(name)
    variables = {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": entry.pw_shell}
    groups = os.getgrouplist(name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}, variables


def started(work, account):
    """The command, its standard streams as our ends of pipes. Raises OSError."""
    order = json.loads(Path("order.json").read_text())
    identity, variables = account_of(account) if account else ({}, {})
    if order.get("desktop"):
        variables = {**variables, "DISPLAY": ":0"}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **variables, **order["environment"]}
    given = subprocess.PIPE if order["input"] else subprocess.DEVNULL
    command = order["command"]
    where = {"cwd": work, "env": environment, "start_new_session": True, "umask": 0o022}
    return subprocess.Popen(
        command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **where, **identity
    )


class Moving:
    """The streams of a command, and what ends it."""

    def __init__(self, child, is_wanted):
        self.child, self.is_wanted = child, is_wanted
        self.over, self.killed = threading.Event(), threading.Event()
        self.trouble = ""

    def send(self, name, pipe):
        """To the share; a command whose output cannot be kept is ended, as its reader's end would."""
        try:
            send(name, pipe, self.killed)
        except OSError as error:
            self.trouble = f"what it prints cannot be written to the share `job`: {error.strerror}"
            self.killed.set()
            tell(signal.SIGKILL)

    def live(self):
        """Until all that it printed is on the share. Returns how it ended."""
        child = self.child
        outputs = (("stdout", child.stdout), ("stderr", child.stderr))
        threads = [threading.Thread(target=self.send, args=(name, pipe.fileno())) for name, pipe in outputs]
        watcher = threading.Thread(target=watch, args=(self.over, self.killed, self.is_wanted), daemon=True)
        for pipe in filter(None, (child.stdin, child.stdout, child.stderr)):
            widen(pipe)
        for one in (*threads, watcher):
            one.start()
        if child.stdin:
            threading.Thread(target=feed, args=(os.dup(child.stdin.fileno()),), daemon=True).start()
            child.stdin.close()
        code = child.wait()
        # Its children end with it; they also hold its streams open.
        clear()
        for one in threads:
            one.join()
        self.over.set()
        if self.trouble:
            return {"failed": "output-lost", "said": self.trouble}
        return {"signal": -code} if code < 0 else {"code": code}


def live(job, work, account, is_wanted=lambda: True):
    """The job's whole life; it is killed when it is wanted no more. This process is then good for nothing else."""
    os.chdir(job)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        child = started(work, account)
    except FileNotFoundError as error:
        said = {"failed": "no-folder" if error.filename == work else "not-found", "said": str(error)}
    except (OSError, ValueError, KeyError) as error:
        said = {"failed": "not-runnable" if isinstance(error, OSError) else "bad-order", "said": str(error)}
    else:
        put("started", b"")
        said = Moving(child, is_wanted).live()
    # Killed because nobody waits, as when the agent has died: that is no end of the command's own.
    if is_wanted():
        put("ended.json", json.dumps(said).encode())


if __name__ == "__main__":
    live(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
