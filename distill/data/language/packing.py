"""Pieces of text in blocks of one length: several in a block, none cut, none seeing another."""

import bisect
from collections.abc import Sequence


def pack(lengths: Sequence[int], block: int) -> list[list[int]]:
    """Which pieces share a block: the longest first, each where it leaves least room (best fit, decreasing).

    Args:
        lengths: of the pieces, from 1 to `block`.
        block: positions in a block.

    Returns:
        The pieces of each block by their place, in order; blocks in the order of their first pieces. Every piece is in
        exactly one block.
    """
    rooms: list[tuple[int, int]] = []  # of blocks that are not full: (positions left, block), sorted
    blocks: list[list[int]] = []
    for piece in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect.bisect_left(rooms, (lengths[piece], 0))
        if place == len(rooms):
            blocks.append([])
            room, chosen = block, len(blocks) - 1
        else:
            room, chosen = rooms.pop(place)
        blocks[chosen].append(piece)
        if room > lengths[piece]:
            bisect.insort(rooms, (room - lengths[piece], chosen))
    return sorted(sorted(pieces) for pieces in blocks)
