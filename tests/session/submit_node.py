"""A node from which jobs are submitted, as far as a program can tell: a host name and a /tmp of its own, and `7lbd`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import harness

SECONDS = 600  # for a command that waits for a job's beginning


@dataclass
class SubmitNode:
    """`folder` holds the site's folder, the node's /tmp, and the user's register of sessions."""

    folder: Path
    host: str
    cwd: Path
    scheduler_env: Mapping[str, str]
    """What the scheduler's commands need."""

    @property
    def prefix(self) -> list[str]:
        """Runs a command there: in a namespace with another host name (uts_namespaces(7))."""
        script = f'hostname {self.host}; exec "$@"'
        return ["unshare", "--map-current-user", "--keep-caps", "--uts", "sh", "-ec", script, "sh"]

    @property
    def env(self) -> dict[str, str]:
        """What a user has there. Slurm's jobs get it, too (sbatch(1), --export)."""
        return {
            **self.scheduler_env,
            "PATH": f"{self.folder}/site:{self.scheduler_env.get('PATH', os.environ['PATH'])}",
            "TMPDIR": str(self.folder / "login"),
            "SEVENLBD_STATE_DIR": str(self.folder / "state"),
        }

    def ended(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that has ended there, in whatever way."""
        return subprocess.run(
            [*self.prefix, *words], capture_output=True, text=True, timeout=SECONDS, check=False, cwd=self.cwd,
            env=harness.environment(self.env),
        )  # fmt: skip

    def call(self, *words: str, code: int = 0) -> str:
        """What a command prints there; `code` is how it must end."""
        done = self.ended(*words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        # The site's folders may be bound by the machine that tests, too.
        notes = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: While bind mounting")]
        return done.stdout + "\n".join(notes)

    def until(self, words: str, *command: str, seconds: float = harness.PATIENCE) -> str:
        """Repeat a command until it prints this."""
        deadline = time.monotonic() + seconds
        while words not in (told := self.call(*command)):
            assert time.monotonic() < deadline, f"no '{words}' in: {told}\n{self.outputs()}"
            time.sleep(0.5)
        return told

    def outputs(self) -> str:
        """What the jobs have printed, for a failed assertion."""
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in self.cwd.glob("*.log"))

    def records(self) -> list[str]:
        """Who has left word."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in (self.folder / "state" / "sessions").iterdir())
        return []


def site(place: Path, table: str, **values: object) -> None:
    """The site's folder: the SIF, its file with one table, and the `7lbd` command as it is rendered."""
    folder = place / "site"
    folder.mkdir(parents=True)
    (folder / "7lbd.sif").symlink_to(harness.SIF)
    binds = [str(harness.REPO), *filter(None, os.environ.get("APPTAINER_BIND", "").split(","))]
    lines = [f"{name} = {value!r}" for name, value in {"binds": binds, **values}.items()]
    (folder / "7lbd.toml").write_text("\n".join([f"[{table}]", *lines, ""]).replace("'", '"'))
    call = harness.command("render", "command", options=["--bind", str(folder)], sif=folder / "7lbd.sif")
    command = folder / "7lbd"
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command.write_text(done.stdout)
    command.chmod(0o755)
