"""The rules of a run and what they need from each other, as a layered graph in SVG.

Layers by longest path, long edges through one place per layer, order within a layer by the means of the neighbours:
Sugiyama, Tagawa & Toda 1981, IEEE Transactions on Systems, Man, and Cybernetics 11:109.
"""

from dataclasses import dataclass

from markupsafe import Markup, escape

from histo.errors import InputError

WIDTH = 720  # units of the viewBox
ROW, BOX = 52, 28  # height of a layer and of a box
CHARACTER = 7.4  # width of a character
SWEEPS = 8  # of the ordering, down and up

Node = tuple[str, int]  # rule and layer; a rule that an edge passes has the name of the edge's start


@dataclass(frozen=True)
class Layout:
    """Layers of nodes from top to bottom; boxes: the nodes of the rules; steps: edges between neighbouring layers."""

    layers: list[list[Node]]
    boxes: list[Node]
    steps: list[tuple[Node, Node]]

    def place(self, node: Node) -> tuple[float, float]:
        """Return the centre of a node in units of the viewBox."""
        row = self.layers[node[1]]
        return WIDTH * (row.index(node) + 0.5) / len(row), ROW * (node[1] + 0.5)


def layers_of(rules: dict[str, list[str]]) -> dict[str, int]:
    """Return the layer of each rule, the length of the longest path to it; rules: {rule: what it needs}.

    Raises InputError for rules that need each other in a cycle.
    """
    found: dict[str, int] = {}
    while len(found) < len(rules):
        placed = {
            rule: 1 + max((found[other] for other in needed), default=-1)
            for rule, needed in rules.items()
            if rule not in found and all(other in found for other in needed)
        }
        if not placed:
            cycle = ", ".join(rule for rule in rules if rule not in found)
            raise InputError(f"run.json: expected rules without a cycle, found one in {cycle}. Run the workflow again.")
        found |= placed
    return found


def direct(rules: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return what each rule needs that none of its other needs needs too (the transitive reduction)."""

    def reached(rule: str) -> set[str]:
        return {other for needed in rules[rule] for other in {needed, *reached(needed)}}

    return {
        rule: [one for one in needed if not any(one in reached(other) for other in needed)]
        for rule, needed in rules.items()
    }


def layout(rules: dict[str, list[str]]) -> Layout:
    """Return the places of rules and edges; rules: {rule: what it needs}, without cycles."""
    rules = {rule: [other for other in needed if other in rules] for rule, needed in rules.items()}
    layer = layers_of(rules)
    steps = []
    for rule, needed in direct(rules).items():
        for start in needed:
            passed = [(start, k) for k in range(layer[start], layer[rule])]
            steps += list(zip(passed, [*passed[1:], (rule, layer[rule])], strict=True))
    steps = list(dict.fromkeys(steps))
    nodes = dict.fromkeys([*layer.items(), *(node for step in steps for node in step)])
    layers = [[node for node in nodes if node[1] == k] for k in range(max(layer.values(), default=-1) + 1)]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in layers if down else layers[::-1]:
            places = {node: (k + 0.5) / len(other) for other in layers for k, node in enumerate(other)}
            row.sort(key=lambda node: _mean_place(node, steps, places, down))
    return Layout(layers, list(layer.items()), steps)


def _mean_place(node: Node, steps: list[tuple[Node, Node]], places: dict[Node, float], down: bool) -> float:
    """Return the mean place of the neighbours of a node above it (down) or below it, or its own."""
    near = [places[start] for start, end in steps if end == node] if down else []
    near = near or [places[end] for start, end in steps if start == node]
    return sum(near) / len(near) if near else places[node]


def rule_graph(rules: dict[str, list[str]], jobs: dict[str, int]) -> Markup:
    """Return the graph as a <figure>, empty for no rules.

    rules: {rule: what it needs}, without cycles; what is reached through another rule is not drawn. jobs: number
    of jobs of each rule, shown behind its name.
    """
    if not rules:
        return Markup("")
    found = layout(rules)
    edges, boxes = [], []
    for start, end in found.steps:
        (x1, y1), (x2, y2) = found.place(start), found.place(end)
        y1, y2 = y1 + BOX / 2 * (start in found.boxes), y2 - BOX / 2 * (end in found.boxes)
        bend = (y1 + y2) / 2
        edges.append(
            f'<path class="edge" d="M{x1:.0f} {y1:.0f}C{x1:.0f} {bend:.0f} {x2:.0f} {bend:.0f} {x2:.0f} {y2:.0f}"/>'
        )
    for node in found.boxes:
        x, y = found.place(node)
        text = f"{node[0]} × {jobs[node[0]]}" if jobs.get(node[0], 1) > 1 else node[0]
        width = CHARACTER * len(text) + 16
        boxes.append(f'<rect x="{x - width / 2:.0f}" y="{y - BOX / 2:.0f}" width="{width:.0f}" height="{BOX}" rx="5"/>'
                     f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{escape(text)}</text>')  # fmt: skip
    needs = "; ".join(f"{rule} after {', '.join(needed)}" for rule, needed in direct(rules).items() if needed)
    return Markup(
        f'<figure class="rules"><figcaption>Rules of the run, with their numbers of jobs</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {ROW * len(found.layers)}" role="img" aria-label="Graph of rules. {escape(needs)}">'
        f"{''.join(edges)}{''.join(boxes)}</svg></figure>"
    )
