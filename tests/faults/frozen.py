"""What sessions go on from: a warm state and a saved desktop of a machine that boots to nothing, made once a run."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import harness

from . import ready

# `image warm` refuses an image without an agent, as nobody could set the session's password in it. Here nobody logs in.
_WARM = """import sys
from sevenlbd.outside.imaging import warming
warming._folder = lambda image: image.folder
from sevenlbd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
_SECONDS = 120.0  # a machine that does nothing is frozen within three, and within ten on a busy one


def make_warm(image: Path, place: Path, pem: Path) -> None:
    """Give `image` a warm state."""
    base = place / "warming"
    base.mkdir(mode=0o700)
    words = ("image", "warm", "--session-dir", str(base), "--min-space", "1M", str(image))
    call = ["apptainer", "exec", "--bind", str(harness.REPO), str(harness.SIF), "python3", "-I", "-c", _WARM, *words]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with ready.Guest(process, pem) as guest:
            guest.answer()
            told, _ = process.communicate(timeout=_SECONDS)
        assert process.returncode == 0, told
    finally:
        process.kill()
        process.wait()


class Saved:
    """A desktop that was suspended into a file, and the key that opens it."""

    def __init__(self, image: Path, place: Path, pem: Path) -> None:
        self.file, self._state = place / "saved.7lbd", place / "state"
        base = place / "saving"
        for folder in (base, self._state):
            folder.mkdir(mode=0o700)
        env = {"SEVENLBD_STATE_DIR": str(self._state)}
        with ExitStack() as stack:
            session = harness.start("--image", str(image), "--name", "kept", "--no-home-share", base=base, env=env)
            stack.callback(session.kill)
            stack.enter_context(ready.Guest(session.process, pem)).answer()
            session.wait_phase("ready", _SECONDS)
            words = ("suspend", "kept", "--to", str(self.file), "--session-dir", str(base))
            done = harness.run(*words, env=env, timeout=_SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
            session.wait_end(_SECONDS)

    def copy(self, file: Path, state: Path) -> None:
        """For one session, whose state is there."""
        shutil.copy(self.file, file)
        (state / "saved").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(self._state / "saved" / "key", state / "saved")

    def is_in(self, file: Path) -> bool:
        """Whether the file still is what was copied: to go on from it changes nothing."""
        return filecmp.cmp(self.file, file, shallow=False)


def copy_image(image: Path, target: Path) -> None:
    """The image with its warm state once more, with the same holes: a link would tell a session that another began."""
    subprocess.run(["cp", "-a", "--sparse=always", str(image), str(target)], check=True)
    harness.open_up(target)  # for whoever removes it
