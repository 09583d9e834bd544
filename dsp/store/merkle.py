"""The Merkle tree of RFC 6962, section 2.1: SHA-256, leaves and nodes hashed apart; roots, proofs, and their verification.

MTH({}) = SHA-256(), MTH({d}) = SHA-256(0x00 || d), MTH(D) = SHA-256(0x01 || MTH(D[:k]) || MTH(D[k:])) with k the largest power
of two below the number of leaves. Proofs are verified as RFC 9162 says, sections 2.1.3.2 and 2.1.4.2. What takes `leaves` takes
their hashes (`leaf_hash`), 32 bytes each.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256().digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return sha256(b"\0" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`, which is 2 or more."""
    return 1 << ((count - 1).bit_length() - 1)


class Frontier:
    """The roots of the perfect trees that a log of `size` leaves is made of, largest first: enough to add leaves to it.

    size, roots: of a frontier that was kept; ValueError where they do not fit each other.
    """

    def __init__(self, size: int = 0, roots: bytes = b"") -> None:
        if len(roots) != 32 * size.bit_count():
            raise ValueError(f"roots: got {len(roots)} bytes, wanted {32 * size.bit_count()} for {size} leaves")
        self.size = size
        self._roots = [roots[at : at + 32] for at in range(0, len(roots), 32)]

    def append(self, leaf: bytes) -> None:
        """Add a leaf, given by its hash."""
        carried = self.size
        while carried & 1:
            leaf = _node(self._roots.pop(), leaf)
            carried >>= 1
        self._roots.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root, 32 bytes."""
        if not self._roots:
            return EMPTY
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = _node(left, root)
        return root

    def __bytes__(self) -> bytes:
        return b"".join(self._roots)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of a tree of these leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The audit path of leaf `index`, lowest node first; ValueError where there is no such leaf."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"index: got {index}, wanted 0 to {len(leaves) - 1}")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(index, leaves[:k]), root_of(leaves[k:])]
    return [*inclusion_proof(index - k, leaves[k:]), root_of(leaves[:k])]


def consistency_proof(size: int, leaves: Sequence[bytes]) -> list[bytes]:
    """That the first `size` leaves are what the tree began with; ValueError unless 1 <= size <= len(leaves)."""
    if not 1 <= size <= len(leaves):
        raise ValueError(f"size: got {size}, wanted 1 to {len(leaves)}")
    return _subproof(size, leaves, True)


def _subproof(size: int, leaves: Sequence[bytes], known: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if known else [root_of(leaves)]
    k = _split(len(leaves))
    if size <= k:
        return [*_subproof(size, leaves[:k], known), root_of(leaves[k:])]
    return [*_subproof(size - k, leaves[k:], False), root_of(leaves[:k])]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the leaf of this hash is the one at `index` of the tree of `size` leaves with this root."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = _node(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = _node(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def extends(size: int, root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree with `new_root` begins with the leaves of the one with `root`.

    Every tree extends the empty one, for which there is nothing to prove.
    """
    if not 0 <= size <= new_size or (size == new_size and (root != new_root or proof)):
        return False
    if size == 0:
        return root == EMPTY and not proof
    if size == new_size:
        return True
    path = list(proof) if size & (size - 1) else [root, *proof]
    if not path:
        return False
    at, last = size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = _node(sibling, old), _node(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = _node(new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old == root and new == new_root
