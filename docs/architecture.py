"""Write architecture.svg: the packages of workflow/scripts/histo, the imports between them, the stages that use each.

Modules directly inside `histo` form the base: every package may import them, they import no package. The source is
parsed with `ast`, not imported. `make architecture` runs this script; tests/test_architecture.py compares the committed
picture with the generated one.
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
BASE = "histo"  # modules that are in no package of their own

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
class Package:
    """A package inside `histo`, or the base."""

    name: str
    purpose: str  # first sentence of its docstring
    modules: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)  # names of other packages, without the base
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


def read(root: Path = ROOT) -> dict[str, Package]:
    """Return the packages of a repository by name, the base among them."""
    scripts = root / "workflow" / "scripts"
    packages = {}
    for path in sorted(scripts.glob("histo/**/__init__.py")):
        text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        packages[path.parent.name] = Package(path.parent.name, text.partition(". ")[0].rstrip(".") + ".")

    def package_of(module: str) -> str:
        parts = module.split(".")
        return parts[1] if len(parts) > 2 else BASE

    for path in sorted(scripts.glob("histo/**/*.py")):
        if path.name != "__init__.py":
            module = ".".join(path.relative_to(scripts).with_suffix("").parts)
            package = packages[package_of(module)]
            package.modules.append(path.stem)
            package.imports |= {package_of(name) for name in imported(path.read_text(), scripts)}
    for package in packages.values():
        package.imports -= {package.name, BASE}
    for path in sorted(scripts.glob("*.py")):
        for name in imported(path.read_text(), scripts):
            packages[package_of(name)].stages.add(path.stem)
    # Snakemake's language is no Python, but its import statements are.
    for path in (root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))):
        lines = "\n".join(re.findall(r"^from histo\S* import \w+.*$", path.read_text(), flags=re.MULTILINE))
        for name in imported(lines, scripts):
            packages[package_of(name)].stages.add(path.name)
    return packages


def levels(packages: dict[str, Package]) -> list[list[str]]:
    """Return names of packages row by row, from those that import no other package upwards, without the base.

    Raises ValueError when packages import each other in a cycle, or when the base imports a package.
    """
    if packages[BASE].imports:
        raise ValueError(f"modules directly in histo/ must not import packages, found {sorted(packages[BASE].imports)}")
    rows: list[list[str]] = []
    placed: set[str] = set()
    left = sorted(packages.keys() - {BASE})
    while left:
        row = [name for name in left if packages[name].imports <= placed]
        if not row:
            raise ValueError(f"packages import each other in a cycle: {', '.join(left)}")
        rows.append(row)
        placed |= set(row)
        left = [name for name in left if name not in placed]
    return rows


def ordered(rows: list[list[str]], packages: dict[str, Package]) -> list[list[str]]:
    """Return the rows, each in the order that minimises the total length of the arrows."""

    def length(candidate: tuple[tuple[str, ...], ...]) -> float:
        x = {name: at - (len(row) - 1) / 2 for row in candidate for at, name in enumerate(row)}
        return sum(abs(x[name] - x[other]) for row in candidate for name in row for other in packages[name].imports)

    best = min(itertools.product(*(itertools.permutations(row) for row in rows)), key=length)
    return [list(row) for row in best]


def lines_of(package: Package, wide: int = 1) -> list[tuple[str, str]]:
    """Return (class, text) of each line of a package's box; wide: width of the box in multiples of WIDTH."""
    parts = [
        ("purpose", package.purpose, TEXT_CHARACTERS),
        ("mono", " ".join(package.modules), MONO_CHARACTERS),
        ("mono stage", " ".join(sorted(package.stages)), MONO_CHARACTERS),
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


def draw(packages: dict[str, Package]) -> str:
    """Return the picture as SVG."""
    rows = ordered(levels(packages), packages)[::-1]  # from the top down
    lines = {name: lines_of(packages[name]) for row in rows for name in row}
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
    edges = [(name, other) for row in rows for name in row for other in sorted(packages[name].imports)]

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
            gaps = [x[row[0]] - GAP / 2, *(x[package] + WIDTH + GAP / 2 for package in row)]
            gap = min(gaps, key=lambda at: abs(at - (points[0][0] + target) / 2))
            points += [(gap, top[row[0]]), (gap, bottom[row[0]])]
        points.append((target, top[other] - 2))
        path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            middle = (y0 + y1) / 2
            path += f" C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}"
        paths.append(f'<path d="{path}" marker-end="url(#arrow)"><title>{name} imports {other}</title></path>')

    purpose = f"{packages[BASE].purpose} All packages and stages may import these modules."
    alone = packages[BASE].stages.difference(*(packages[name].stages for row in rows for name in row))
    base = lines_of(Package(BASE, purpose, packages[BASE].modules, stages=alone), most)
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
            "<title>Packages of the shared code and the imports between them</title>",
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
