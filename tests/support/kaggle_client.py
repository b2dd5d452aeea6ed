"""The real kaggle client as a process, with Kaggle on loopback; its output is searched for credentials."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support import ROOT
from support.kaggle_server import KEY, SIGNATURE, TOKEN, USER, KaggleServer

SCRIPTS = ROOT / "workflow" / "scripts"
BY_KEY = {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}
SECRETS = (KEY, TOKEN, SIGNATURE, "Authorization")


def assert_no_secret(folder: Path, *output: str) -> int:
    """Assert that neither the output nor a file under `folder` contains a secret; returns the number of files read.

    The folder `home` in it, which holds the credentials, is excluded.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != "home"]
    for content in [*(text.encode() for text in output), *(path.read_bytes() for path in files)]:
        for secret in SECRETS:
            assert secret.encode() not in content, secret
    return len(files)


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


@dataclass
class Client:
    """A Python program that runs in a working folder and whose requests to Kaggle all go to a server on loopback."""

    folder: Path
    server: KaggleServer
    program: str

    @property
    def home(self) -> Path:
        """The home folder of the program, empty at first."""
        path = self.folder / "home"
        path.mkdir(exist_ok=True)
        return path

    def start(
        self, environment: dict[str, str], *arguments: str, wrapper: tuple[str, ...] = (), home: Path | None = None
    ) -> subprocess.Popen:
        """Start the program. wrapper: a command that runs another one."""
        return subprocess.Popen(
            [*wrapper, sys.executable, "-c", self.program, *arguments],
            cwd=self.folder,
            env=self.server.environment(home or self.home, PYTHONPATH=str(SCRIPTS), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen) -> tuple[int, str]:
        """Wait for the end; returns exit status and output. Neither output nor files may contain a secret."""
        output, _ = process.communicate(timeout=300)
        assert_no_secret(self.folder, output)
        assert "Traceback" not in output
        return process.returncode, output

    def run(self, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
        """Start the program and wait for its end; returns exit status and output."""
        return self.finish(self.start(environment, *arguments))
