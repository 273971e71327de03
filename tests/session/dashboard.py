"""Open OnDemand's dashboard as an app sees it: Ruby stages and composes, Slurm runs, Ruby renders the card."""

from __future__ import annotations

import json
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
from pool import Pool

RUBY = Path(__file__).parent / "portal" / "dashboard.rb"


@dataclass(frozen=True)
class Card:
    """What the user sees of a session: its state, and the app's own part, as HTML."""

    title: str
    html: str


@dataclass
class Launch:
    """A session of the app: its job and the folder that was staged for it."""

    pool: Pool
    job: int
    staged: Path

    def state(self) -> str:
        """Slurm's word for the job."""
        return self.pool.state(self.job)

    def output(self) -> str:
        """The job's output so far."""
        log = self.staged / "output.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def shares(self) -> str:
        """What smbclient(1) lists in the session's namespaces, with the session's password."""
        told = self.told()
        secret = json.loads((Path(told["folder"]) / "credentials.json").read_text())
        server = min(pid for pid, line in harness.descendants(told["pid"]).items() if "sbin/smbd" in line)
        enter = ["nsenter", "-t", str(server), "-U", "-n", "--preserve-credentials"]
        call = ["smbclient", "-g", "-A", "/dev/stdin", "-L", harness.HOST]
        text = f"username = {secret['share_user']}\npassword = {secret['password']}\n"
        return subprocess.run([*enter, *call], input=text, capture_output=True, text=True, check=True).stdout

    def told(self) -> dict[str, Any]:
        """What the session has said of itself; nothing before it has."""
        try:
            found: dict[str, Any] = json.loads((self.staged / "report" / "session.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def wait_told(self, phase: str, seconds: float = harness.PATIENCE) -> dict[str, Any]:
        """What the session says as soon as it has come to this phase."""
        import web

        def reached() -> dict[str, Any] | None:
            told = self.told()
            if phase in told.get("phases", {}):
                return told
            assert self.state() not in ("FAILED", "CANCELLED", "COMPLETED", "TIMEOUT"), self.output()
            return None

        found: dict[str, Any] = web.until(f"{phase} in {self.staged}", reached, seconds)
        return found


@dataclass
class App:
    """A rendered app in its folder, and where its sessions are staged."""

    folder: Path
    data: Path
    pool: Pool
    """The cluster; an app that is only looked at needs none."""
    set_host: str = "host=$(hostname)"
    """What the cluster's file in OnDemand says of the nodes' names."""
    kept_form: Path | None = None
    """A form.yml that the dashboard has kept, though the app was rendered anew."""
    home: Path | None = None
    """Of the user whose dashboard it is, if not of the one who tests."""
    launched: list[Launch] = field(default_factory=list)

    def launch(self, *options: str, **form: str) -> Launch:
        """Send the form; `options` are more of sbatch's."""
        staged = self.data / str(uuid.uuid4())
        made = json.loads(self._ruby("launch", str(staged), text=json.dumps(form)))
        job = self.pool.sbatch(made["script"], *made["args"], *options)
        self.launched.append(Launch(self.pool, job, staged))
        return self.launched[-1]

    def asked(self, **form: str) -> tuple[list[str], dict[str, str]]:
        """What sbatch would be called with, and form.json, without a job."""
        staged = self.data / str(uuid.uuid4())
        made = json.loads(self._ruby("launch", str(staged), text=json.dumps(form)))
        return made["args"], json.loads((staged / "form.json").read_text())

    def refused(self, **form: str) -> str:
        """What the dashboard says of a form that does not even become a job."""
        try:
            self._ruby("launch", str(self.data / "refused"), text=json.dumps(form))
        except subprocess.CalledProcessError as error:
            return str(error.stderr)
        raise AssertionError("it was taken")

    def form(self) -> dict[str, Any]:
        """The form as the dashboard shows it now."""
        found: dict[str, Any] = json.loads(self._ruby("form"))
        return found

    def card(self, session: Launch) -> Card:
        """The session's card as it is now."""
        return self.card_of(session.staged, session.state())

    def card_of(self, staged: Path, state: str) -> Card:
        """The card of what lies in a staged folder, when Slurm says this of the job."""
        return Card(**json.loads(self._ruby("card", str(staged), state)))

    def _ruby(self, command: str, *arguments: str, text: str = "") -> str:
        call = ["ruby", str(RUBY), command, str(self.folder), *arguments]
        extra = {"SET_HOST": self.set_host, "FORM": str(self.kept_form) if self.kept_form else None}
        env = harness.environment(extra | ({"HOME": str(self.home)} if self.home else {}))
        return subprocess.run(
            call, input=text, capture_output=True, text=True, timeout=harness.PATIENCE, check=True, env=env
        ).stdout


def rendered(site: Path, folder: Path, *options: str) -> str:
    """Render the app with the SIF that is in the site's folder; returns what it says."""
    # As a site's administrator, whose environment says nothing of state_dir.
    env = {"SEVENLBD_STATE_DIR": None}
    done = harness.run(
        "render", "ood", str(folder), *options, options=["--bind", str(site)], sif=site / "7lbd.sif", env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as OnDemand reads it."""
    call = ["ruby", "-ryaml", "-rjson", "-e", "puts JSON.generate(YAML.safe_load(File.read(ARGV[0])))", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    return found
