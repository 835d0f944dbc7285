"""SubLink merger trees: the descendants of subhalos, in the depth-first order that readers rely on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ssfr.components.simulation.universe.cells import Table
from ssfr.components.simulation.universe.halos import FRAGMENT
from ssfr.components.simulation.universe.layout import Plan

_TREE_STRIDE = 10**8
"""SubhaloIDs of two trees are this far apart; within a tree they count the rows."""

_POINTERS = (
    "SubhaloID",
    "RootDescendantID",
    "DescendantID",
    "FirstProgenitorID",
    "NextProgenitorID",
    "LastProgenitorID",
    "MainLeafProgenitorID",
    "FirstSubhaloInFOFGroupID",
)


@dataclass
class _Node:
    snapshot: int
    subfind: int
    progenitors: list[_Node] = field(default_factory=list)


def build_trees(plans: Sequence[Plan]) -> list[Table]:
    """Return the trees of a universe, one table each.

    Parameters
    ----------
    plans
        The snapshots, newest first.

    Returns
    -------
    list of Table
        Columns as in SubLink; rows depth first, the main progenitor before the others. A satellite that is
        gone in the next newer snapshot has merged with the central galaxy of its halo. Fragments (flag 0)
        are in no tree.
    """
    nodes = [_nodes(plan) for plan in plans]
    roots = list(nodes[0].values())
    for newer, older in pairwise(nodes):
        # Same galaxy first, so that the main progenitor leads the list.
        for (halo, slot), node in older.items():
            if (halo, slot) in newer:
                newer[halo, slot].progenitors.insert(0, node)
            else:
                newer[halo, 0].progenitors.append(node)
    central = {
        (node.snapshot, node.subfind): (node.snapshot, level[halo, 0].subfind)
        for level in nodes
        for (halo, _), node in level.items()
    }
    tables = [_table(root, number * _TREE_STRIDE) for number, root in enumerate(roots)]
    identity = {
        (int(snapshot), int(subfind)): int(name)
        for table in tables
        for snapshot, subfind, name in zip(
            table["SnapNum"], table["SubfindID"], table["SubhaloID"], strict=True
        )
    }
    for table in tables:
        pairs = zip(table["SnapNum"].tolist(), table["SubfindID"].tolist(), strict=True)
        table["FirstSubhaloInFOFGroupID"][:] = [identity[central[pair]] for pair in pairs]
    return tables


def rows_of_snapshot(plan: Plan, trees: Sequence[Table]) -> Table:
    """Return RowNum, SubhaloID and LastProgenitorID for every subhalo of a snapshot; -1 where in no tree."""
    rows = {name: np.full(len(plan.subhalo_length), -1, dtype=np.int64) for name in _OFFSET_COLUMNS}
    start = 0
    for table in trees:
        here = np.flatnonzero(table["SnapNum"] == plan.snapshot)
        subfind = table["SubfindID"][here]
        rows["RowNum"][subfind] = start + here
        rows["SubhaloID"][subfind] = table["SubhaloID"][here]
        rows["LastProgenitorID"][subfind] = table["LastProgenitorID"][here]
        start += len(table["SubhaloID"])
    return rows


_OFFSET_COLUMNS = ("RowNum", "SubhaloID", "LastProgenitorID")


def _nodes(plan: Plan) -> dict[tuple[int, int], _Node]:
    first = plan.first_subhalo
    return {
        (int(halo), slot): _Node(plan.snapshot, int(first[number]) + position)
        for number, halo in enumerate(plan.halo)
        for position, slot in enumerate(plan.slots[number])
        if slot != FRAGMENT
    }


def _table(root: _Node, first_id: int) -> Table:
    order: list[_Node] = []
    descendant: list[int] = []
    last: list[int] = []
    leaf: list[int] = []
    following: list[int] = []

    def visit(node: _Node, below: int) -> int:
        row = len(order)
        order.append(node)
        descendant.append(below)
        for column in (last, leaf, following):
            column.append(-1)
        rows = [visit(progenitor, row) for progenitor in node.progenitors]
        for one, other in pairwise(rows):
            following[one] = other
        last[row] = len(order) - 1
        leaf[row] = leaf[rows[0]] if rows else row
        return row

    visit(root, -1)
    n = len(order)
    table: Table = {name: np.full(n, -1, dtype=np.int64) for name in _POINTERS}
    table["SubhaloID"][:] = first_id + np.arange(n)
    table["RootDescendantID"][:] = first_id
    has_progenitor = np.array([bool(node.progenitors) for node in order])
    # Depth first: the main progenitor is the next row.
    table["FirstProgenitorID"][has_progenitor] = first_id + np.flatnonzero(has_progenitor) + 1
    for name, rows in (
        ("DescendantID", descendant),
        ("NextProgenitorID", following),
        ("LastProgenitorID", last),
        ("MainLeafProgenitorID", leaf),
    ):
        known = np.array(rows)
        table[name][:] = np.where(known >= 0, first_id + known, -1)
    table["SnapNum"] = np.array([node.snapshot for node in order], dtype=np.int16)
    table["SubfindID"] = np.array([node.subfind for node in order], dtype=np.int32)
    return table
