"""Reading curves as TensorBoard does."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events(path: Path) -> list[Event]:
    """Events of a file, each framed by its length (8 bytes), a checksum of it (4) and a checksum of the event (4)."""
    content, position, found = path.read_bytes(), 0, []
    while position < len(content):
        (size,) = struct.unpack("<Q", content[position : position + 8])
        found.append(Event.FromString(content[position + 12 : position + 12 + size]))
        position += 16 + size
    assert position == len(content)
    return found


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return {name: [(step, value)]} of the files of a folder; a START event drops the points from its step on."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in events(path):
            if event.session_log.status == SessionLog.START:
                curves = {name: [p for p in points if p[0] < event.step] for name, points in curves.items()}
            for value in event.summary.value:
                curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves
