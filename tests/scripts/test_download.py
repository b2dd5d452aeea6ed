"""The stage download with the real kaggle client, as a process, against a server that misbehaves.

FAULTS lists the faults of the server: the error that the user sees, what remains on disk, what the next run does.
"""

import hashlib
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from histo.formatting import size_text
from histo.tiles.zip_archive import crc_faults
from support import REAL_ARCHIVE
from support.kaggle_client import BY_KEY, SCRIPTS, Client, assert_no_secret, last_line
from support.kaggle_server import COMPETITION, TOKEN, Faults, KaggleServer
from support.waiting import wait_for

# Runs the stage as its script does, but without Snakemake and with short waits.
PROGRAM = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from histo import job
import download
from histo.remote import http, partial_download
settings = json.loads(sys.argv[1])
partial_download.PAUSE, partial_download.REPORT, http.TIMEOUT = 0.02, 0.2, settings.pop("timeout")
partial_download.SYNC, download.EXPANSION = 100_000, settings.pop("expansion")
job.start(SimpleNamespace(log=["logs/download.log"], threads=2))
download.download(Path("resources/archive.zip"), results=Path("results"), threads=2, **settings)
"""


def synthetic_archive(seed: int, tiles: int = 24) -> bytes:
    """A zip in the layout of the competition's, about 480 kB; the same bytes for the same seed."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(tiles):
            name = f"{'test' if number % 3 == 0 else 'train'}/{number:040x}.tif"
            archive.writestr(zipfile.ZipInfo(name), rng.randbytes(20_000), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("train_labels.csv"), "id,label\n", zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


ARCHIVE = synthetic_archive(1)
NEWER = synthetic_archive(2)
OTHER_MD5 = "0" * 32


def damage(content: bytes) -> bytes:
    """Change one byte of the second tile."""
    return content[:30_000] + bytes([content[30_000] ^ 1]) + content[30_001:]


@dataclass
class Fault:
    """A fault of the server and its consequences."""

    name: str
    faults: Faults
    messages: list[str]  # parts of the last line that the user sees; empty: the run succeeds nevertheless
    kept: int = 0  # bytes received that are kept after the run
    resumed: bool | None = False  # whether the next run requests the missing bytes only; None: it requests nothing
    environment: dict[str, str] = field(default_factory=lambda: dict(BY_KEY))
    settings: dict = field(default_factory=dict)
    then: bytes = ARCHIVE  # the archive after the next run
    ranges: list[str | None] | None = None  # expected Range headers of the first run; None: not checked


def refused(code: int, text: str = "no", **headers: str) -> Faults:
    return Faults(status={"DownloadDataFiles": [(code, headers, text)]})


SIZE = len(ARCHIVE)
CUT = 200_000
AT = CUT  # all bytes of a broken connection count

FAULTS = [
    # Credentials and permission
    Fault(
        "no credentials",
        Faults(),
        ["No Kaggle credentials found", "https://www.kaggle.com/settings/api", "KAGGLE_API_TOKEN: not set"],
        environment={},
    ),
    Fault(
        "rules not accepted",
        refused(403, "You must accept this competition's rules"),
        [
            f"https://www.kaggle.com/competitions/{COMPETITION}/rules",
            "You must accept",
            "A wrong kaggle.competition gives the same",
        ],
    ),
    Fault(
        "a wrong name",
        Faults(),
        ["refuses access to the competition 'synthetic-tile'", "A wrong kaggle.competition gives the same status"],
        settings={"competition": "synthetic-tile"},
    ),
    # Errors of Kaggle's servers
    Fault("server error", refused(500), ["server error (HTTP 500 while requesting the archive", "Run again in a few"]),
    Fault("error of the storage", Faults(storage_status=[503]), ["storage answered HTTP 503", "Run again"]),
    Fault(
        "a web page instead of the archive",
        Faults(page=b"<html>sign in to the guest network</html>"),
        ["Expected a zip archive from Kaggle, found something else (text/html)", "sign-in page of a network"],
    ),
    # The transfer
    Fault("the connection breaks once", Faults(cut_after=[CUT]), [], SIZE, None, ranges=[None, None, f"bytes={AT}-"]),
    Fault(
        "the connection breaks again and again",
        Faults(cut_after=[CUT] + [-1, 0] * 6),
        [f"stopped at {size_text(AT)}", "5 connections in a row added nothing", "run again to resume from them"],
        AT,
        True,
    ),
    Fault(
        "the server falls silent",
        Faults(stall_after=[CUT]),
        [],
        SIZE,
        None,
        ranges=[None, None, f"bytes={AT}-"],
        settings={"timeout": 0.5},
    ),
    Fault(
        "the address expires between two connections",
        Faults(cut_after=[CUT], storage_status=[200, 403, 403]),
        [],
        SIZE,
        None,
        ranges=[None, None, None, None, f"bytes={AT}-"],
    ),
    Fault(
        "the storage refuses to resume",
        Faults(cut_after=[CUT], storage_status=[200] + [200, 503] * 5),
        ["connections in a row added nothing", "HTTP 503 to a request for the missing bytes"],
        AT,
        True,
    ),
    Fault(
        "too many requests between two connections",
        Faults(cut_after=[CUT], storage_status=[200, 429]),
        ["HTTP 429", "it resumes from what is already there"],
        AT,
        True,
    ),
    Fault(
        "no ranges",
        Faults(cut_after=[CUT], ranges=False),
        [],
        SIZE,
        None,
        ranges=[None, None, f"bytes={AT}-"],
    ),
    Fault("no date and no ETag", Faults(cut_after=[CUT], validator=False), [], SIZE, False, ranges=[None, None]),
    Fault(
        "truncated without a length, once",
        Faults(cut_after=[CUT], content_length=False),
        [],
        SIZE,
        None,
        ranges=[None, None, f"bytes={CUT}-"],
    ),
    Fault(
        "truncated without a length, always",
        Faults(cut_after=[CUT] + [-1, 0] * 6, content_length=False),
        ["connections in a row added nothing", "before the end of the archive"],
        CUT,
        True,
    ),
    Fault(
        "another file at the second connection",
        Faults(cut_after=[CUT], archives=[ARCHIVE, NEWER]),
        [],
        len(NEWER),
        None,
        then=NEWER,
        ranges=[None, None],
    ),
    # The content
    Fault(
        "garbage of the right size",
        Faults(archives=[b"PK" + bytes(SIZE - 2), ARCHIVE]),
        ["archive is damaged", "directory cannot be read", "Run again to download them again"],
    ),
    Fault(
        "one wrong byte",
        Faults(archives=[damage(ARCHIVE), ARCHIVE]),
        ["archive is damaged: train/0000000000000000000000000000000000000001.tif: CRC "],
    ),
    Fault(
        "another MD5 than in the setting",
        Faults(),
        [f"expected the MD5 {OTHER_MD5} (download.md5)", "not downloaded again"],
        SIZE,
        None,
        settings={"md5": OTHER_MD5},
    ),
    # The disk
    Fault(
        "no disk space for later stages",
        Faults(),
        ["Not enough disk space", "the archive 484.59 kB", "later results 484589.00 GB"],
        settings={"expansion": 1e9},
    ),
]


@dataclass
class Case(Client):
    """The stage in a working folder, and a server on loopback in the place of Kaggle."""

    def launch(self, environment: dict[str, str], wrapper: tuple[str, ...] = (), **settings) -> subprocess.Popen:
        values = {"competition": COMPETITION, "md5": None, "timeout": 5.0, "expansion": 1.25} | settings
        return self.start(environment, json.dumps(values), wrapper=wrapper)

    def download(self, environment: dict[str, str] = BY_KEY, **settings) -> tuple[int, str]:
        """Exit status and output of the stage."""
        return self.finish(self.launch(environment, **settings))

    def wait_for(self, count: int) -> None:
        """Wait until so many bytes are received."""
        wait_for(lambda: self.kept() >= count, 120, f"{count} bytes")

    @property
    def archive(self) -> Path:
        return self.folder / "resources" / "archive.zip"

    @property
    def part(self) -> Path:
        return self.folder / "resources" / "archive.zip.download" / "archive.part"

    def kept(self) -> int:
        """Number of bytes in the partial download."""
        return self.part.stat().st_size if self.part.exists() else 0

    def assert_resumes(self, *ranges: str | None) -> None:
        """Download again from a server without faults, and compare the Range headers of its requests."""
        self.server.faults = Faults()
        self.server.requests.clear()
        status, output = self.download()
        assert status == 0, output
        assert self.server.fetched() == list(ranges)
        assert self.archive.read_bytes() == ARCHIVE


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with KaggleServer(ARCHIVE) as server:
        yield Case(tmp_path, server, PROGRAM)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(case: Case, fault: Fault) -> None:
    case.server.faults = fault.faults
    status, output = case.download(fault.environment, **fault.settings)
    assert case.archive.exists() == (not fault.messages)
    if fault.messages:
        assert status == 1
        assert re.match(r"\d\d:\d\d:\d\d ERROR ", last_line(output))
        for text in fault.messages:
            assert text in last_line(output)
    else:
        assert status == 0, output
        assert case.archive.read_bytes() == fault.then
    assert case.kept() == fault.kept
    if fault.ranges is not None:
        assert case.server.fetched() == fault.ranges
    assert not any(authorization for _, path, _, authorization in case.server.requests if "/storage/" in path)
    assert (case.folder / "logs" / "download.log").read_text() == output

    # The next run, without faults.
    case.archive.unlink(missing_ok=True)  # as Snakemake does before it runs a rule again
    faults, case.server.faults = case.server.faults, Faults(validator=fault.faults.validator)
    case.server.archive = next(iter(faults.archives), case.server.archive)
    case.server.requests.clear()
    status, output = case.download()
    assert status == 0, output
    assert case.archive.read_bytes() == fault.then
    rest = {None: [None], True: [None, f"bytes={fault.kept}-"], False: [None]}[fault.resumed]
    assert case.server.fetched() == rest
    assert ("nothing to transfer" in output) == (fault.resumed is None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_keeps_the_bytes_received(case: Case, number: signal.Signals) -> None:
    case.server.faults = Faults(delay=0.05)
    process = case.launch(BY_KEY)
    case.wait_for(65536)
    process.send_signal(number)
    status, output = case.finish(process)
    kept = case.kept()
    assert status == 1
    assert f"Interrupted. {size_text(kept)} of the archive are kept in" in last_line(output)
    assert not case.archive.exists()
    case.assert_resumes(None, f"bytes={kept}-")


def test_killed_run_is_resumed_from_the_last_sync(case: Case) -> None:
    case.server.faults = Faults(delay=0.05)
    process = case.launch(BY_KEY)
    case.wait_for(200_000)
    process.kill()
    process.communicate(timeout=30)
    synced = json.loads(case.part.with_name("state.json").read_text())["received"]
    assert 100_000 <= synced <= case.kept()
    with open(case.part, "ab") as file:  # a crash of the machine may leave arbitrary bytes after the last sync
        file.write(bytes(50_000))
    case.assert_resumes(None, f"bytes={synced}-")


def test_full_disk_keeps_the_bytes_received(case: Case) -> None:
    # The limit of a process on the size of files stands for a full disk: EFBIG instead of ENOSPC, the same code.
    status, output = case.download(wrapper=("bash", "-c", 'ulimit -f 150; exec "$@"', "limited"))
    assert status == 1
    assert "No space left in" in last_line(output)
    assert "the next run resumes from what is there" in last_line(output)
    assert case.kept() == 150 * 1024
    case.assert_resumes(None, f"bytes={150 * 1024}-")


def test_full_file_system(case: Case) -> None:
    """A file system of 300 kB in a namespace of its own, where the machine allows that."""
    (case.folder / "resources").mkdir()
    case.server.faults = Faults(content_length=False)  # a known size would be refused before the first byte
    mount = (
        'mount -t tmpfs -o size=300k tmpfs resources && "$@"; status=$?; ls -l resources/*/archive.part; exit $status'
    )
    unshare = ("unshare", "--user", "--map-root-user", "--mount")
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount in a namespace")
    status, output = case.download(wrapper=(*unshare, "bash", "-c", mount, "mount"), expansion=0)
    assert status == 1
    *_, error, listing = output.splitlines()
    assert "No space left in resources/archive.zip.download (No space left on device)" in error
    assert int(listing.split()[4]) > 200_000


def test_files_without_state_are_not_trusted(case: Case) -> None:
    """Files of the right size with wrong bytes: the archive itself, and a partial download without its state."""
    case.part.parent.mkdir(parents=True)
    case.archive.write_bytes(bytes(SIZE))
    case.part.write_bytes(bytes(SIZE))
    status, output = case.download()
    assert status == 0, output
    assert case.archive.read_bytes() == ARCHIVE


def test_a_failed_run_keeps_an_older_archive(case: Case) -> None:
    assert case.download()[0] == 0
    case.server.archive = damage(NEWER)
    status, output = case.download()
    assert status == 1
    assert "is not known to be the one of which" in output
    assert case.archive.read_bytes() == ARCHIVE


def test_right_md5_and_progress(case: Case) -> None:
    case.server.faults = Faults(delay=0.03)
    status, output = case.download(md5=hashlib.md5(ARCHIVE).hexdigest().upper())
    assert status == 0, output
    lines = re.findall(r"INFO ([\d.]+ kB) of 484\.59 kB \((\d+)%\), [\d.]+ kB/s, [\d.]+ s left", output)
    shares = [int(share) for _, share in lines]
    assert len(shares) >= 2 and shares == sorted(shares)
    assert "25 entries verified" in output


SNAKEFILE = """
rule all:
    input: "submission-score.json", "scores.json",
rule download:
    output: archive="resources/archive.zip",
    params: settings={{"competition": "{competition}"}}, md5=None, results="results",
    log: "logs/download.log",
    localrule: True
    script: "{scripts}/download.py"
rule submission:
    input: "resources/archive.zip",
    output: table="submission.csv", summary="submission.json", evaluation="ensemble.json",
    run:
        import hashlib, json
        from pathlib import Path
        Path(output.table).write_text("id,label\\na,0.5\\n")
        digest = hashlib.sha256(Path(output.table).read_bytes()).hexdigest()
        Path(output.summary).write_text(json.dumps({{"sha256": digest}}))
        Path(output.evaluation).write_text(json.dumps({{"auc": 0.9}}))
rule submit:
    input: submission="submission.csv", submission_summary="submission.json", evaluation="ensemble.json",
    output: record="submission-score.json",
    params:
        settings={{"competition": "{competition}", "message": "", "again": False, "patience": 60.0}},
        code={{"submit.py": "0"}},
    log: "logs/submit.log",
    localrule: True
    script: "{scripts}/submit.py"
rule scores:
    input: "submission-score.json",
    output: scores="scores.json",
    params: settings={{"competition": "{competition}"}},
    log: "logs/scores.log",
    localrule: True
    script: "{scripts}/scores.py"
"""


def test_snakemake_writes_no_secret(case: Case) -> None:
    """Snakemake runs download, submit and scores; no file that it writes, including its metadata, has a secret."""
    (case.folder / "Snakefile").write_text(SNAKEFILE.format(scripts=SCRIPTS, competition=COMPETITION))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", "--printshellcmds"],
        cwd=case.folder,
        env=case.server.environment(case.home, KAGGLE_API_TOKEN=TOKEN, **BY_KEY),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert_no_secret(case.folder, done.stdout, done.stderr)
    assert any((case.folder / ".snakemake" / "metadata").iterdir())
    assert case.archive.read_bytes() == ARCHIVE
    [submission] = json.loads((case.folder / "scores.json").read_text())["submissions"]
    assert (submission["public"], submission["oof_auc"]) == (0.97531, 0.9)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_ARCHIVE.exists(), reason=f"no archive of real tiles at {REAL_ARCHIVE}")
def test_real_archive(case: Case) -> None:
    case.server.archive = REAL_ARCHIVE.read_bytes()
    case.server.faults = Faults(cut_after=[30_000_000, -1, 40_000_000])
    status, output = case.download()
    assert status == 0, output
    assert case.archive.read_bytes() == case.server.archive
    assert "4124 entries verified" in output


def test_crc_faults_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stored", b"0123456789")
        archive.writestr("packed", b"a" * 5_000_000, zipfile.ZIP_DEFLATED)  # larger than a chunk when decompressed
        archive.writestr("squeezed", b"x", zipfile.ZIP_BZIP2)
    entries = zipfile.ZipFile(path).infolist()
    with ThreadPoolExecutor(2) as pool:
        assert crc_faults(path, entries[:2], pool) == []
        content = path.read_bytes().replace(b"0123456789", b"0123456780")
        path.write_bytes(content)
        entries[1].file_size -= 1
        assert crc_faults(path, entries, pool) == [
            f"stored: CRC {entries[0].CRC:08x} expected, {zlib.crc32(b'0123456780'):08x} found",
            "packed: 4,999,999 bytes expected, more than 4,999,999 there",
            "squeezed: stored or deflated expected, compression method 12 found",
        ]
