"""Curves of a training run in TensorBoard's format, which grow while it runs.

Each process that trains the run writes a file of its own. A resumed run begins its file with a START event: readers
then drop the points after the resumed step, which are trained again.

The package tensorboardX writes the files. PyTorch's own writer needs the package tensorboard, which with its
dependencies is 20 MB of wheels instead of 90 kB.
"""

import socket
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

PATTERN = "events.out.tfevents.*"


class Curves:
    """Writes points of curves into a file of a folder."""

    def __init__(self, folder: str | Path, step: int) -> None:
        """Create the file. folder: of the run; step: number of steps done, 0 removes the files of earlier runs."""
        folder = Path(folder)
        if step == 0:
            for old in folder.glob(PATTERN):
                old.unlink()
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time_ns() / 1e9:.6f}.{socket.gethostname()}"
        self._writer = RecordWriter(str(folder / name))
        self._write(Event(wall_time=time.time(), step=step, file_version="brain.Event:2"))
        if step:
            self._write(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add a point to each named curve at a step, counted from 1 over all epochs."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def flush(self) -> None:
        """Write all points to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
