"""Training one network on several GPUs of a machine: a process for each GPU, started and watched by torchrun's agent.

A process that fails ends all others, and its error becomes that of the job. SIGTERM reaches all processes, which save
the progress once and end.
"""

import fcntl
import json
import logging
import os
import sys
import tempfile
import traceback
import uuid
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from histo.config.train import TrainSettings
from histo.errors import DivergedError, InputError
from histo.training.loop import SIGTERM_STATUS, train
from histo.training.processes import Processes

SCRIPTS = Path(__file__).resolve().parents[2]
ERRORS = {"InputError": InputError, "DivergedError": DivergedError}
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def launch(processes: int, arguments: dict[str, Any]) -> None:
    """Run `train` in this number of processes, in this process if it is one.

    arguments: of `histo.training.loop.train`, by name. Raises what `train` raises.
    """
    if processes == 1:
        train(**arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = arguments | {
            "settings": arguments["settings"].model_dump(),
            "resume_path": str(arguments["resume_path"]),
        }
        (folder / "job.json").write_text(json.dumps({"arguments": values, "log": _shared_log()}))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            elastic_launch(_configuration(processes, folder), sys.executable)("-m", __name__, str(folder))
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None
        except ChildFailedError as error:
            raise _first_error(folder, error) from None


def _configuration(processes: int, folder: Path) -> LaunchConfig:
    """Configuration of the agent: all processes on this machine, none started again."""
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "agent")),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        local_addr="127.0.0.1",
    )


def _shared_log() -> str | None:
    """Path of this process's log file, after a change that lets other processes append to it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            flags = fcntl.fcntl(handler.stream, fcntl.F_GETFL)
            fcntl.fcntl(handler.stream, fcntl.F_SETFL, flags | os.O_APPEND)
            return handler.baseFilename
    return None


def _first_error(folder: Path, failed: ChildFailedError) -> BaseException:
    """The error of the process that failed first."""
    errors = sorted(folder.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if errors:
        kind, text = json.loads(errors[0].read_text())
        return ERRORS.get(kind, RuntimeError)(text)
    rank, failure = failed.get_first_failure()
    if failure.exitcode == SIGTERM_STATUS:
        return SystemExit(SIGTERM_STATUS)
    return RuntimeError(f"process {rank} of the training ended with exit status {failure.exitcode}")


def _work(folder: Path) -> None:
    """Train as one of the processes; write an error to a file of `folder`."""
    job = json.loads((folder / "job.json").read_text())
    processes = Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if job["log"]:
        handlers.append(logging.FileHandler(job["log"]))
    logging.basicConfig(
        level=logging.WARNING if processes.rank else logging.INFO, format=LOG_FORMAT, datefmt="%H:%M:%S",
        handlers=handlers,
    )  # fmt: skip
    arguments = job["arguments"]
    try:
        train(**arguments | {"settings": TrainSettings(**arguments["settings"])}, processes=processes)
    except Exception as error:
        kind = type(error).__name__
        text = str(error) if kind in ERRORS else "".join(traceback.format_exception(error)).rstrip()
        # Renamed when complete, with the time at which it was written.
        part = folder / f"error-{processes.rank}.part"
        part.write_text(json.dumps([kind, text]))
        part.rename(part.with_suffix(".json"))
        raise SystemExit(1) from None


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
