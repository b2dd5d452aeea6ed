"""The real kaggle client, in a process of its own, against a server that misbehaves.

FAULTS is the table: what goes wrong, what the user sees, what lies on disk afterwards, what the next run does.
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
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from histo.formatting import size_text
from histo.tiles.zip_archive import crc_faults
from support import REAL_ARCHIVE, ROOT
from support.kaggle_server import COMPETITION, KEY, SIGNATURE, TOKEN, USER, Faults, KaggleServer

SCRIPTS = ROOT / "workflow" / "scripts"
BY_KEY = {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}

# What the workflow's script does, without Snakemake; the waiting times are those of a test.
DRIVER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from histo import job
import download
from histo.remote import http, partial_download
settings = json.loads(sys.argv[1])
partial_download.PAUSE, partial_download.REPORT, http.SILENCE = 0.02, 0.2, settings.pop("silence")
partial_download.SYNC, download.CHAIN = 100_000, settings.pop("chain")
job.start(SimpleNamespace(log=["logs/download.log"], threads=2))
download.download(Path("resources/archive.zip"), results=Path("results"), threads=2, **settings)
"""


def made_archive(seed: int, tiles: int = 24) -> bytes:
    """A zip in the layout of the competition's, about 480 kB; the same bytes for the same seed."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(tiles):
            name = f"{'test' if number % 3 == 0 else 'train'}/{number:040x}.tif"
            archive.writestr(zipfile.ZipInfo(name), rng.randbytes(20_000), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("train_labels.csv"), "id,label\n", zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


ARCHIVE = made_archive(1)
NEWER = made_archive(2)
OTHER_MD5 = "0" * 32


def damaged(content: bytes) -> bytes:
    """One byte of the second tile is another."""
    return content[:30_000] + bytes([content[30_000] ^ 1]) + content[30_001:]


@dataclass
class Fault:
    """One line of the table."""

    name: str
    faults: Faults
    says: list[str]  # each a part of the last line that the user sees; empty: the run ends well all the same
    kept: int = 0  # bytes of the part after the run
    resumed: bool | None = False  # whether the next run asks the storage for the rest only; None: for nothing
    environment: dict[str, str] = field(default_factory=lambda: dict(BY_KEY))
    settings: dict = field(default_factory=dict)
    then: bytes = ARCHIVE  # what the next run ends with
    ranges: list[str | None] | None = None  # Range headers of the first run, where they are the point


def refused(code: int, text: str = "no", **headers: str) -> Faults:
    return Faults(status={"DownloadDataFiles": [(code, headers, text)]})


WHOLE = len(ARCHIVE)
CUT = 200_000
AT = CUT // 65536 * 65536  # where the last whole chunk ends

FAULTS = [
    # Credentials and permission
    Fault(
        "no credentials",
        Faults(),
        ["No Kaggle credentials found", "https://www.kaggle.com/settings/api", "KAGGLE_API_TOKEN: not set"],
        environment={},
    ),
    Fault(
        "half a pair of variables",
        Faults(),
        ["No Kaggle credentials found", "KAGGLE_USERNAME and KAGGLE_KEY: not both set"],
        environment={"KAGGLE_USERNAME": USER},
    ),
    Fault(
        "an empty key",
        Faults(),
        ["No Kaggle credentials found", "KAGGLE_USERNAME and KAGGLE_KEY: not both set"],
        environment={"KAGGLE_USERNAME": USER, "KAGGLE_KEY": ""},
    ),
    Fault(
        "a wrong key",
        Faults(),
        ["refuses the credentials in KAGGLE_USERNAME and KAGGLE_KEY (HTTP 401", "https://www.kaggle.com/settings/api"],
        environment={"KAGGLE_USERNAME": USER, "KAGGLE_KEY": "f" * 32},
    ),
    Fault(
        "an expired token",
        Faults(),
        ["does not accept the credentials in KAGGLE_API_TOKEN (expired,", "https://www.kaggle.com/settings/api"],
        environment={"KAGGLE_API_TOKEN": "KGAT_" + "e" * 32},
    ),
    Fault(
        "an expired token beside a good key",
        Faults(),
        ["no longer accepts the token in KAGGLE_API_TOKEN", "instead of KAGGLE_USERNAME and KAGGLE_KEY", "Remove it"],
        environment={"KAGGLE_API_TOKEN": "KGAT_" + "e" * 32} | BY_KEY,
    ),
    Fault(
        "rules not accepted",
        refused(403, "You must accept this competition's rules"),
        [f"https://www.kaggle.com/competitions/{COMPETITION}/rules", "You must accept", "A wrong name gets the same"],
    ),
    Fault(
        "a wrong name",
        Faults(),
        ["refuses access to the competition 'made-up-tile'", "A wrong name gets the same answer"],
        settings={"competition": "made-up-tile"},
    ),
    Fault("no such competition", refused(404), ["knows no competition 'made-up-tiles'", "last part of its address"]),
    Fault(
        "too many requests",
        refused(429, "Too many requests", **{"Retry-After": "5400"}),
        ["HTTP 429", "Wait 1 h 30 min, until ", "then run again"],
    ),
    Fault("too many requests, no time", refused(429), ["HTTP 429", "Wait about 15 minutes, Kaggle does not say"]),
    # Kaggle's own trouble
    Fault("trouble at Kaggle", refused(500), ["trouble of its own (HTTP 500", "Run again in a few minutes"]),
    Fault("no address from the storage", Faults(storage_status=[503]), ["storage answered HTTP 503", "Run again"]),
    Fault(
        "a web page instead of the archive",
        Faults(page=b"<html>sign in to the guest network</html>"),
        ["sent no zip archive (text/html)", "sign-in page of a network"],
    ),
    # The transfer
    Fault("the connection breaks once", Faults(cut_after=[CUT]), [], WHOLE, None, ranges=[None, None, f"bytes={AT}-"]),
    Fault(
        "it breaks again and again",
        Faults(cut_after=[CUT] + [-1, 0] * 6),
        [f"stopped at {size_text(AT)}", "5 connections in a row brought nothing more", "next run goes on from it"],
        AT,
        True,
    ),
    Fault(
        "the server falls silent",
        Faults(stall_after=[CUT]),
        [],
        WHOLE,
        None,
        ranges=[None, None, f"bytes={AT}-"],
        settings={"silence": 0.5},
    ),
    Fault(
        "the address expires on the way",
        Faults(cut_after=[CUT], storage_status=[200, 403, 403]),
        [],
        WHOLE,
        None,
        ranges=[None, None, None, None, f"bytes={AT}-"],
    ),
    Fault(
        "the storage refuses the rest",
        Faults(cut_after=[CUT], storage_status=[200] + [200, 503] * 5),
        ["connections in a row brought nothing more", "HTTP 503 to a request for the rest"],
        AT,
        True,
    ),
    Fault(
        "too many requests on the way",
        Faults(cut_after=[CUT], storage_status=[200, 429]),
        ["HTTP 429", "it goes on from what is already there"],
        AT,
        True,
    ),
    Fault(
        "no ranges",
        Faults(cut_after=[CUT], ranges=False),
        [],
        WHOLE,
        None,
        ranges=[None, None, f"bytes={AT}-"],
    ),
    Fault("no date and no ETag", Faults(cut_after=[CUT], validator=False), [], WHOLE, False, ranges=[None, None]),
    Fault(
        "truncated without a length, once",
        Faults(cut_after=[CUT], content_length=False),
        [],
        WHOLE,
        None,
        ranges=[None, None, f"bytes={CUT}-"],
    ),
    Fault(
        "truncated without a length, always",
        Faults(cut_after=[CUT] + [-1, 0] * 6, content_length=False),
        ["connections in a row brought nothing more", "before the archive's end"],
        CUT,
        True,
    ),
    Fault(
        "another file between two parts",
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
        Faults(archives=[b"PK" + bytes(WHOLE - 2), ARCHIVE]),
        ["received is damaged", "directory cannot be read", "run again to fetch them anew"],
    ),
    Fault(
        "one wrong byte",
        Faults(archives=[damaged(ARCHIVE), ARCHIVE]),
        ["received is damaged: train/0000000000000000000000000000000000000001.tif: CRC "],
    ),
    Fault(
        "another MD5 than in the settings",
        Faults(),
        [f"expect {OTHER_MD5}", "nothing needs to be fetched a second time"],
        WHOLE,
        None,
        settings={"md5": OTHER_MD5},
    ),
    # The disk
    Fault(
        "no room for the chain",
        Faults(),
        ["Not enough room", "the archive 484.59 kB", "what is made of it 484589.00 GB"],
        settings={"chain": 1e9},
    ),
]


@dataclass
class Case:
    """A working folder, and the server that it takes for Kaggle."""

    folder: Path
    server: KaggleServer

    def start(self, environment: dict[str, str], limit_kb: int | None = None, **settings) -> subprocess.Popen:
        values = {"competition": COMPETITION, "md5": None, "silence": 5.0, "chain": 1.25} | settings
        command = [sys.executable, "-c", DRIVER, json.dumps(values)]
        if limit_kb:  # the largest file that may be written
            command = ["bash", "-c", f'ulimit -f {limit_kb}; exec "$@"', "limited", *command]
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.server.environment(home, PYTHONPATH=str(SCRIPTS), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, environment: dict[str, str], **settings) -> tuple[int, str]:
        """Exit status and everything that was printed; whatever happens, no secret is in it or in any file's text."""
        process = self.start(environment, **settings)
        printed, _ = process.communicate(timeout=60)
        self.no_secret(printed)
        return process.returncode, printed

    def no_secret(self, printed: str) -> None:
        texts = [printed.encode()]
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder).parts[0] != "home":
                texts.append(path.read_bytes())
        for secret in (KEY, TOKEN, SIGNATURE, "Authorization"):
            assert not any(secret.encode() in text for text in texts), secret

    @property
    def archive(self) -> Path:
        return self.folder / "resources" / "archive.zip"

    @property
    def part(self) -> Path:
        return self.folder / "resources" / "archive.zip.download" / "archive.part"

    def kept(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with KaggleServer(ARCHIVE) as server:
        yield Case(tmp_path, server)


def last_line(printed: str) -> str:
    return printed.strip().splitlines()[-1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(case: Case, fault: Fault) -> None:
    case.server.faults = fault.faults
    status, printed = case.run(fault.environment, **fault.settings)
    assert "Traceback" not in printed
    assert case.archive.exists() == (not fault.says)
    if fault.says:
        assert status == 1
        assert re.match(r"\d\d:\d\d:\d\d ERROR ", last_line(printed))
        for text in fault.says:
            assert text in last_line(printed)
    else:
        assert status == 0, printed
        assert case.archive.read_bytes() == fault.then
    assert case.kept() == fault.kept
    if fault.ranges is not None:
        assert case.server.fetched() == fault.ranges
    assert not any(authorization for _, path, _, authorization in case.server.requests if "/storage/" in path)
    assert (case.folder / "logs" / "download.log").read_text() == printed

    # The next run, with nothing wrong any more.
    case.archive.unlink(missing_ok=True)  # as Snakemake does before it runs a rule again
    faults, case.server.faults = case.server.faults, Faults(validator=fault.faults.validator)
    case.server.archive = next(iter(faults.archives), case.server.archive)
    case.server.requests.clear()
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.archive.read_bytes() == fault.then
    rest = {None: [None], True: [None, f"bytes={fault.kept}-"], False: [None]}[fault.resumed]
    assert case.server.fetched() == rest
    assert ("nothing to transfer" in printed) == (fault.resumed is None)


SIGN_IN = {
    "KAGGLE_API_TOKEN": ({"KAGGLE_API_TOKEN": TOKEN}, {}, "Bearer"),
    "KAGGLE_API_TOKEN names a file": ({"KAGGLE_API_TOKEN": "{home}/mine"}, {"mine": TOKEN}, "Bearer"),
    "access_token": ({}, {".kaggle/access_token": TOKEN + "\n"}, "Bearer"),
    "KAGGLE_USERNAME and KAGGLE_KEY": (BY_KEY, {}, "Basic"),
    "kaggle.json in ~/.kaggle": ({}, {".kaggle/kaggle.json": json.dumps({"username": USER, "key": KEY})}, "Basic"),
    "kaggle.json in ~/.config": (
        {},
        {".config/kaggle/kaggle.json": json.dumps({"username": USER, "key": KEY})},
        "Basic",
    ),
    "kaggle.json elsewhere": (
        {"KAGGLE_CONFIG_DIR": "{home}/own"},
        {"own/kaggle.json": json.dumps({"username": USER, "key": KEY})},
        "Basic",
    ),
    "OAuth": (
        {},
        {
            ".kaggle/credentials.json": json.dumps(
                {
                    "refresh_token": "refresh",
                    "access_token": TOKEN,
                    "access_token_expiration": "2126-01-01T00:00:00+00:00",
                    "username": USER,
                }
            )
        },
        "Bearer",
    ),
}


@pytest.mark.parametrize("way", SIGN_IN)
def test_every_way_to_sign_in(case: Case, way: str) -> None:
    environment, files, scheme = SIGN_IN[way]
    home = case.folder / "home"
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    status, printed = case.run({name: value.format(home=home) for name, value in environment.items()})
    assert status == 0, printed
    assert case.archive.read_bytes() == ARCHIVE
    [asked] = [
        authorization for _, path, _, authorization in case.server.requests if path.endswith("/DownloadDataFiles")
    ]
    assert asked and asked.startswith(scheme)


def test_unusable_kaggle_json_is_named(case: Case) -> None:
    path = case.folder / "home" / ".kaggle" / "kaggle.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"username": "tester"}')
    status, printed = case.run({})
    assert status == 1
    assert f'{path}: there, but not JSON with "username" and "key"' in last_line(printed)


def test_a_verbose_client_shows_no_secret(case: Case) -> None:
    status, printed = case.run({"VERBOSE": "true", "KAGGLE_API_TOKEN": TOKEN})  # run() looks for the secrets
    assert status == 0, printed


def test_no_place_for_the_clients_own_folder(case: Case) -> None:
    status, printed = case.run(BY_KEY | {"HOME": "/proc/nobody"})
    assert status == 1
    assert "The kaggle client cannot be loaded" in last_line(printed)
    assert "set KAGGLE_CONFIG_DIR" in last_line(printed)


def test_no_network(case: Case) -> None:
    status, printed = case.run(BY_KEY | {"http_proxy": "http://127.0.0.1:9"})
    assert status == 1
    assert "Kaggle cannot be reached while asking for the archive" in last_line(printed)
    assert "Check the network, and https_proxy" in last_line(printed)
    assert not case.archive.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_keeps_what_came(case: Case, number: signal.Signals) -> None:
    case.server.faults = Faults(delay=0.05)
    process = case.start(BY_KEY)
    for _ in range(400):
        if case.kept() >= 65536:
            break
        time.sleep(0.02)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=30)
    kept = case.kept()
    assert process.returncode == 1
    assert f"Interrupted. {size_text(kept)} of the archive are kept in" in last_line(printed)
    assert not case.archive.exists()

    case.server.faults = Faults()
    case.server.requests.clear()
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.server.fetched() == [None, f"bytes={kept}-"]
    assert case.archive.read_bytes() == ARCHIVE


def test_killed_goes_on_from_the_last_sync(case: Case) -> None:
    case.server.faults = Faults(delay=0.05)
    process = case.start(BY_KEY)
    for _ in range(400):
        if case.kept() >= 200_000:
            break
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    synced = json.loads(case.part.with_name("state.json").read_text())["received"]
    assert 100_000 <= synced <= case.kept()
    with open(case.part, "ab") as file:  # what a machine's crash may leave behind the last sync
        file.write(bytes(50_000))

    case.server.faults = Faults()
    case.server.requests.clear()
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.server.fetched() == [None, f"bytes={synced}-"]
    assert case.archive.read_bytes() == ARCHIVE


def test_full_disk_keeps_what_came(case: Case) -> None:
    # The size limit of a process stands for the disk's: the same path, EFBIG instead of ENOSPC.
    process = case.start(BY_KEY, limit_kb=150)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "No room left in" in last_line(printed)
    assert "the next run goes on from what is there" in last_line(printed)
    assert case.kept() == 150 * 1024

    case.server.requests.clear()
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.server.fetched() == [None, f"bytes={150 * 1024}-"]


def test_really_full_disk(case: Case) -> None:
    """A file system of 300 kB in a name space of its own, where the machine allows that."""
    (case.folder / "resources").mkdir()
    case.server.faults = Faults(content_length=False)  # the size, if known, would be refused before the first byte
    inner = (
        'mount -t tmpfs -o size=300k tmpfs resources && "$@"; status=$?; ls -l resources/*/archive.part; exit $status'
    )
    values = {"competition": COMPETITION, "md5": None, "silence": 5.0, "chain": 0}
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no name space to mount in")
    done = subprocess.run(
        [*unshare, "bash", "-c", inner, "inner", sys.executable, "-c", DRIVER, json.dumps(values)],
        cwd=case.folder,
        env=case.server.environment(case.folder, PYTHONPATH=str(SCRIPTS), **BY_KEY),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "No room left in resources/archive.zip.download (No space left on device)" in last_line(done.stderr)
    assert int(done.stdout.split()[4]) > 200_000


def test_stale_archive_and_part_are_not_trusted(case: Case) -> None:
    """Files of the right size that nothing proves: under the final name, and as a part without its state."""
    case.part.parent.mkdir(parents=True)
    case.archive.write_bytes(bytes(WHOLE))
    case.part.write_bytes(bytes(WHOLE))
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.archive.read_bytes() == ARCHIVE


def test_a_failed_run_leaves_an_older_archive_alone(case: Case) -> None:
    assert case.run(BY_KEY)[0] == 0
    case.server.archive = damaged(NEWER)
    status, printed = case.run(BY_KEY)
    assert status == 1
    assert "is not the one of which" in printed
    assert case.archive.read_bytes() == ARCHIVE


def test_right_md5_and_progress(case: Case) -> None:
    case.server.faults = Faults(delay=0.03)
    status, printed = case.run(BY_KEY, md5=hashlib.md5(ARCHIVE).hexdigest().upper())
    assert status == 0, printed
    lines = re.findall(r"INFO ([\d.]+ kB) of 484\.59 kB \((\d+)%\), [\d.]+ kB/s, [\d.]+ s left", printed)
    shares = [int(share) for _, share in lines]
    assert len(shares) >= 2 and shares == sorted(shares)
    assert "25 entries proven" in printed


SNAKEFILE = """
rule all:
    input: "submission-score.json", "scores.json",
rule download:
    output: archive="resources/archive.zip",
    params: settings={{"competition": "{competition}", "md5": None}}, results="results",
    log: "logs/download.log",
    localrule: True
    script: "{scripts}/download.py"
rule submission:
    input: "resources/archive.zip",
    output: table="submission.csv", made="submission.json", evaluation="ensemble.json",
    run:
        import hashlib, json
        from pathlib import Path
        Path(output.table).write_text("id,label\\na,0.5\\n")
        digest = hashlib.sha256(Path(output.table).read_bytes()).hexdigest()
        Path(output.made).write_text(json.dumps({{"sha256": digest}}))
        Path(output.evaluation).write_text(json.dumps({{"auc": 0.9}}))
rule submit:
    input: submission="submission.csv", made="submission.json", evaluation="ensemble.json",
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
    """All three scripts as Snakemake runs them; then a search through everything it wrote, its own records too."""
    (case.folder / "Snakefile").write_text(SNAKEFILE.format(scripts=SCRIPTS, competition=COMPETITION))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", "--printshellcmds"],
        cwd=case.folder,
        env=case.server.environment(case.folder / "home", KAGGLE_API_TOKEN=TOKEN, **BY_KEY),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    case.no_secret(done.stdout + done.stderr)
    assert any((case.folder / ".snakemake" / "metadata").iterdir())
    assert case.archive.read_bytes() == ARCHIVE
    [one] = json.loads((case.folder / "scores.json").read_text())["submissions"]
    assert (one["public"], one["oof_auc"]) == (0.97531, 0.9)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_ARCHIVE.exists(), reason=f"{REAL_ARCHIVE} is not here")
def test_real_archive(case: Case) -> None:
    case.server.archive = REAL_ARCHIVE.read_bytes()
    case.server.faults = Faults(cut_after=[30_000_000, -1, 40_000_000])
    status, printed = case.run(BY_KEY)
    assert status == 0, printed
    assert case.archive.read_bytes() == case.server.archive
    assert "4124 entries proven" in printed


def test_crc_faults_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stored", b"0123456789")
        archive.writestr("packed", b"a" * 5_000_000, zipfile.ZIP_DEFLATED)  # larger than one piece when unpacked
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
