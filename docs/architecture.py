"""Write architecture.svg: the rooms of workflow/scripts/histo, the imports between them, the stages that use each.

A room is a package inside `histo`. Modules directly inside `histo` form the base, which every room may import
(rules: tests/test_rooms.py). The source is parsed with `ast`, not imported. `make architecture` runs this script;
tests/test_architecture.py compares the committed picture with the generated one.
"""

import ast
import itertools
import re
import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = Path(__file__).with_suffix(".svg")
BASE = "histo"  # modules that are in no room

WIDTH, GAP, MARGIN = 320, 44, 24  # of a box, between boxes, around the picture; pixels
TITLE, LINE, SPACE, PADDING = 22, 15, 5, 12  # height of a title, of a line, between blocks of lines, inside a box
MONO_CHARACTERS, TEXT_CHARACTERS = 44, 48  # that fit into a line of a box
BETWEEN_ROWS = 64
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2933; }
.title { font: bold 15px system-ui, sans-serif; }
.mono { font: 11px ui-monospace, "DejaVu Sans Mono", monospace; }
.stage { fill: #8a3b12; }
rect.page { fill: #ffffff; }
rect.box { fill: #f4f6f8; stroke: #52606d; }
path { fill: none; stroke: #52606d; stroke-width: 1.4; }
#arrow path { fill: #52606d; stroke: none; }
"""


@dataclass
class Room:
    """A package inside `histo`, or the base."""

    name: str
    purpose: str  # first sentence of its docstring
    modules: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)  # names of other rooms, without the base
    stages: set[str] = field(default_factory=set)  # scripts and Snakemake files that import it


def imported(source: str, root: Path) -> set[str]:
    """Return the dotted names of the modules of `histo` that Python source code imports.

    root: folder in which `histo` lies; `from histo import tables` names a module there, not only a package.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in names:
            path = root.joinpath(*name.split("."))
            if name.partition(".")[0] == "histo" and path.with_suffix(".py").is_file():
                found.add(name)
    return found


def read(root: Path = ROOT) -> dict[str, Room]:
    """Return the rooms of a repository by name, the base among them."""
    scripts = root / "workflow" / "scripts"
    rooms = {}
    for path in sorted(scripts.glob("histo/**/__init__.py")):
        text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        rooms[path.parent.name] = Room(path.parent.name, text.partition(". ")[0].rstrip(".") + ".")

    def room_of(module: str) -> str:
        parts = module.split(".")
        return parts[1] if len(parts) > 2 else BASE

    for path in sorted(scripts.glob("histo/**/*.py")):
        if path.name != "__init__.py":
            module = ".".join(path.relative_to(scripts).with_suffix("").parts)
            room = rooms[room_of(module)]
            room.modules.append(path.stem)
            room.imports |= {room_of(name) for name in imported(path.read_text(), scripts)}
    for room in rooms.values():
        room.imports -= {room.name, BASE}
    for path in sorted(scripts.glob("*.py")):
        for name in imported(path.read_text(), scripts):
            rooms[room_of(name)].stages.add(path.stem)
    # Snakemake's language is no Python, but its import statements are.
    for path in (root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))):
        lines = "\n".join(re.findall(r"^from histo\S* import \w+.*$", path.read_text(), flags=re.MULTILINE))
        for name in imported(lines, scripts):
            rooms[room_of(name)].stages.add(path.name)
    return rooms


def levels(rooms: dict[str, Room]) -> list[list[str]]:
    """Return names of rooms row by row, from those that import no other room upwards, without the base.

    Raises ValueError if rooms import each other in a cycle.
    """
    rows: list[list[str]] = []
    placed: set[str] = set()
    left = sorted(rooms.keys() - {BASE})
    while left:
        row = [name for name in left if rooms[name].imports <= placed]
        if not row:
            raise ValueError(f"rooms import each other in a cycle: {', '.join(left)}")
        rows.append(row)
        placed |= set(row)
        left = [name for name in left if name not in placed]
    return rows


def ordered(rows: list[list[str]], rooms: dict[str, Room]) -> list[list[str]]:
    """Return the rows, each in the order that minimises the total length of the arrows."""

    def length(candidate: tuple[tuple[str, ...], ...]) -> float:
        x = {name: at - (len(row) - 1) / 2 for row in candidate for at, name in enumerate(row)}
        return sum(abs(x[name] - x[other]) for row in candidate for name in row for other in rooms[name].imports)

    best = min(itertools.product(*(itertools.permutations(row) for row in rows)), key=length)
    return [list(row) for row in best]


def lines_of(room: Room, wide: int = 1) -> list[tuple[str, str]]:
    """Return (class, text) of each line of a room's box; wide: width of the box in multiples of WIDTH."""
    parts = [
        ("purpose", room.purpose, TEXT_CHARACTERS),
        ("mono", " ".join(room.modules), MONO_CHARACTERS),
        ("mono stage", " ".join(sorted(room.stages)), MONO_CHARACTERS),
    ]
    return [
        (kind, line)
        for kind, text, characters in parts
        for line in textwrap.wrap(text, round(characters * wide), break_on_hyphens=False)
    ]


def height_of(lines: list[tuple[str, str]]) -> int:
    """Return the height of a box, pixels."""
    return 2 * PADDING + TITLE + LINE * len(lines) + SPACE * (len({kind for kind, _ in lines}) - 1)


def box(x: float, y: float, width: float, height: float, title: str, lines: list[tuple[str, str]]) -> list[str]:
    """Return the SVG elements of a box; a space sets off lines of another class."""
    elements = [f'<rect class="box" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6"/>']
    y += PADDING + 12
    elements.append(f'<text class="title" x="{x + PADDING:.0f}" y="{y:.0f}">{escape(title)}</text>')
    y += TITLE
    for (kind, line), (before, _) in zip(lines, [lines[0], *lines], strict=False):
        y += SPACE if kind != before else 0
        elements.append(f'<text class="{kind}" x="{x + PADDING:.0f}" y="{y:.0f}">{escape(line)}</text>')
        y += LINE
    return elements


def draw(rooms: dict[str, Room]) -> str:
    """Return the picture as SVG."""
    rows = ordered(levels(rooms), rooms)[::-1]  # from the top down
    lines = {name: lines_of(rooms[name]) for row in rows for name in row}
    most = max(len(row) for row in rows)
    inner = most * WIDTH + (most - 1) * GAP
    x, top, bottom = {}, {}, {}
    y = float(MARGIN)
    for row in rows:
        start = MARGIN + (inner - len(row) * WIDTH - (len(row) - 1) * GAP) / 2
        height = max(height_of(lines[name]) for name in row)
        for at, name in enumerate(row):
            x[name], top[name], bottom[name] = start + at * (WIDTH + GAP), y, y + height
        y += height + BETWEEN_ROWS
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    edges = [(name, other) for row in rows for name in row for other in sorted(rooms[name].imports)]

    def port(name: str, edge: tuple[str, str], end: int) -> float:
        """Return x of an arrow where it leaves (end 0) or reaches (end 1) a box: ports are evenly spaced."""
        own = sorted((e for e in edges if e[end] == name), key=lambda e: (x[e[1 - end]], e))
        return x[name] + WIDTH * (own.index(edge) + 1) / (len(own) + 1)

    paths = []
    for edge in edges:
        name, other = edge
        points = [(port(name, edge, 0), bottom[name])]
        target = port(other, edge, 1)
        for number in range(row_of[name] + 1, row_of[other]):  # through the gap nearest to the straight line
            row = rows[number]
            gaps = [x[row[0]] - GAP / 2, *(x[room] + WIDTH + GAP / 2 for room in row)]
            gap = min(gaps, key=lambda at: abs(at - (points[0][0] + target) / 2))
            points += [(gap, top[row[0]]), (gap, bottom[row[0]])]
        points.append((target, top[other] - 2))
        path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            middle = (y0 + y1) / 2
            path += f" C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}"
        paths.append(f'<path d="{path}" marker-end="url(#arrow)"><title>{name} imports {other}</title></path>')

    purpose = f"{rooms[BASE].purpose} All rooms and stages may import these modules."
    purpose += f" They import {', '.join(sorted(rooms[BASE].imports))}." if rooms[BASE].imports else ""
    alone = rooms[BASE].stages.difference(*(rooms[name].stages for row in rows for name in row))
    base = lines_of(Room(BASE, purpose, rooms[BASE].modules, stages=alone), most)
    boxes = box(MARGIN, y, inner, height_of(base), BASE, base)
    for row in rows:
        for name in row:
            boxes += box(x[name], top[name], WIDTH, bottom[name] - top[name], f"histo/{name}", lines[name])
    below = y + height_of(base) + 26
    legend = (
        "Arrow: imports. Box: purpose, modules and, in brown, the stages and Snakemake files that import from it; "
        f"of {BASE}, those that import from no other box."
    )
    width, height = inner + 2 * MARGIN, below + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
            f'viewBox="0 0 {width:.0f} {height:.0f}">',
            "<title>Rooms: packages of the shared code and the imports between them</title>",
            f"<desc>{'; '.join(f'{name} imports {other}' for name, other in edges)}.</desc>",
            f"<style>{STYLE}</style>",
            '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z"/></marker>',
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            *paths,
            *boxes,
            f'<text x="{MARGIN}" y="{below:.0f}">{legend}</text>',
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(read()))
    print(PICTURE.relative_to(ROOT))
