"""Tiles that share tissue, as a graph: its connected components, and the layout of a component on its slide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components


def positions(ids: pd.Series, pairs: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the pairs between `ids` as positions in it, int64 [M, 2], and their rows of `pairs` (id_a, id_b, …).

    An id may occur twice, once in each split; a pair then counts for the first. Pairs of a tile with itself are
    dropped.
    """
    first = ~ids.duplicated().to_numpy()
    position = pd.Series(np.flatnonzero(first), index=ids.to_numpy()[first])
    a, b = pairs["id_a"].map(position), pairs["id_b"].map(position)
    inside = a.notna() & b.notna() & (a != b)
    return np.stack([a[inside], b[inside]], axis=1).astype(np.int64), pairs[inside]


def components(count: int, links: np.ndarray) -> np.ndarray:
    """Return the connected component of each of `count` nodes, int32 [count], numbered from 0; links: int64 [M, 2]."""
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count, count))
    component: np.ndarray = connected_components(graph, directed=False)[1]
    return component


def equal_links(keys: pd.Series) -> np.ndarray:
    """Return links, int64 [M, 2], from each row to the first row with the same key; missing keys have no links."""
    codes, _ = pd.factorize(keys)
    known = np.flatnonzero(codes >= 0)
    _, first = np.unique(codes[known], return_index=True)
    every = np.stack([known, known[first[codes[known]]]], axis=1)
    links: np.ndarray = every[every[:, 0] != every[:, 1]]
    return links


def layout_component(count: int, links: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
    """Return the position of each tile of one component, int64 [count, 2] as (y, x) in pixels; the lowest of each is 0.

    links: int64 [M, 2], which connect all tiles; offsets: (dy, dx), origin of the second minus that of the first.
    None when the offsets contradict each other: then some equal pixels are not the same position on the slide.
    """
    a, b = links.T
    step = dict(zip(zip(a.tolist(), b.tolist(), strict=True), offsets, strict=True))
    graph = csr_array((np.ones(2 * len(links), np.int8), (np.r_[a, b], np.r_[b, a])), shape=(count, count))
    order, before = breadth_first_order(graph, 0, directed=False)
    origin = np.zeros((count, 2), np.int64)
    for tile in order[1:].tolist():
        known = int(before[tile])
        origin[tile] = origin[known] + (step[known, tile] if (known, tile) in step else -step[tile, known])
    if not np.array_equal(origin[b] - origin[a], offsets):
        return None
    origin -= origin.min(0)
    return origin


@dataclass(frozen=True)
class Region:
    """Tiles that are connected by overlaps.

    members: their positions in the table of tiles; links: int64 [M, 2], the overlapping pairs as positions in members;
    steps: int64 [M, 2], the origin of the second tile of each pair minus that of the first, as (dy, dx) in pixels.
    """

    members: np.ndarray
    links: np.ndarray
    steps: np.ndarray

    def offsets(self) -> np.ndarray | None:
        """Return the position of each tile; see `layout_component`."""
        return layout_component(len(self.members), self.links, self.steps)


def regions(ids: pd.Series, pairs: pd.DataFrame) -> Iterator[Region]:
    """Yield the connected regions of at least two tiles, the largest first.

    ids: of all tiles, unique; pairs: confirmed overlaps (`tables.OVERLAPS`).
    """
    links, kept = positions(ids, pairs)
    component = components(len(ids), links)
    steps, of_link = kept[["dy", "dx"]].to_numpy(np.int64), component[links[:, 0]]
    tiles_in_order, links_in_order = np.argsort(component, kind="stable"), np.argsort(of_link, kind="stable")
    sizes = np.bincount(component)
    first_tile = np.r_[0, np.cumsum(sizes)]
    first_link = np.r_[0, np.cumsum(np.bincount(of_link, minlength=len(sizes)))]
    for number in np.argsort(-sizes, kind="stable"):
        if sizes[number] < 2:
            return
        members = tiles_in_order[first_tile[number] : first_tile[number + 1]]
        own = links_in_order[first_link[number] : first_link[number + 1]]
        yield Region(members, np.searchsorted(members, links[own]), steps[own])
