"""Contiguous shards of a collection, for several machines or runs."""

from __future__ import annotations

from gradir.errors import GradirError


def check_shard(shard_id: int, shard_num: int) -> None:
    """Refuse a shard that there cannot be, before anything is counted.

    Raises:
        GradirError: `shard_id` is not from 0 to `shard_num` - 1.
    """
    if shard_num < 1 or not 0 <= shard_id < shard_num:
        raise GradirError(f"--shard-id {shard_id} --shard-num {shard_num}: ids go from 0 to the number of shards - 1.")


def shard_span(total: int, shard_id: int, shard_num: int, what: str = "texts") -> tuple[int, int]:
    """The rows of a shard, from and up to but without: all shards of one size but the last, which takes the rest (as in Pyserini).

    Args:
        total: Rows of all shards.
        shard_id: From 0.
        shard_num: How many shards.
        what: What the rows are, for the error.

    Raises:
        GradirError: A number out of range, or more shards than rows.
    """
    check_shard(shard_id, shard_num)
    size = total // shard_num
    if shard_num > 1 and not size:
        raise GradirError(f"--shard-num {shard_num}: there are only {total} {what}. Give fewer shards.")
    start = shard_id * size
    return start, total if shard_id == shard_num - 1 else start + size
