"""A history of writes of whole blocks in one order, and whether a copy is a prefix of it."""

import struct

BLOCK = 4096


def stamp(number):
    """The contents of the block that write `number` leaves. Never written is number 0."""
    return struct.pack(">Q", number) * (BLOCK // 8)


class History:
    """`places[n - 1]` is the block that write n wrote. The writer appends to it before it sends the
    write, and sets `done` to n after the reply. Only one thread writes."""

    def __init__(self, blocks):
        self.blocks, self.places, self.done = blocks, [], 0

    def prefix_of(self, data, least, most):
        """Returns how many writes a copy holds. Fails unless it is byte for byte the state after
        the first k writes, for a k from `least` to `most`.

        The last write of a prefix is never overwritten, so k can only be the largest stamp.
        """
        assert len(data) == self.blocks * BLOCK, (len(data), self.blocks * BLOCK)
        numbers = []
        for block in range(self.blocks):
            content = data[block * BLOCK : (block + 1) * BLOCK]
            (number,) = struct.unpack(">Q", content[:8])
            assert content == stamp(number), (
                f"block {block} is torn: stamps {sorted(set(struct.unpack('>512Q', content)))}")
            numbers.append(number)
        k = max(numbers)
        assert k <= len(self.places), f"stamp {k}, after {len(self.places)} writes"
        wanted = [0] * self.blocks
        for number, place in enumerate(self.places[:k], 1):
            wanted[place] = number
        for block, (got, want) in enumerate(zip(numbers, wanted)):
            assert got == want, (
                f"no prefix: it holds write {k}, but block {block} holds write {got}, not {want}")
        assert least <= k, f"it holds {k} writes, but {least} were acknowledged before it was made"
        assert k <= most, f"it holds {k} writes, but only {most} had begun when it was complete"
        return k
