"""The Merkle tree against the Certificate Transparency project's vectors and the RFC's own recursion."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.store import merkle
from farfield.store.merkle import Frontier, consistency_proof, extends, includes, inclusion_proof, leaf_hash, root_of

# The Certificate Transparency reference implementation's vectors (merkle_tree_test.cc; now transparency-dev/merkle).
CT_LEAVES = [bytes.fromhex(leaf) for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                              "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
H1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
H23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
H4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
H45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
H67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
H4567 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
CT_INCLUSION = {(0, 8): [H1, H23, H4567], (5, 8): [H4, H67, CT_ROOTS[4]], (2, 3): [CT_ROOTS[2]], (1, 5): [CT_ROOTS[1], H23, H4]}
CT_CONSISTENCY = {(1, 1): [], (1, 8): [H1, H23, H4567], (6, 8): [H45, H67, CT_ROOTS[4]], (2, 5): [H23, H4]}


def hashes(size):
    return [leaf_hash(leaf) for leaf in CT_LEAVES[:size]]


def test_roots_are_those_of_certificate_transparency():
    frontier = Frontier()
    for size, root in enumerate(CT_ROOTS):
        assert frontier.root().hex() == root_of(hashes(size)).hex() == root
        frontier = Frontier(frontier.size, bytes(frontier))  # as it is kept between two leaves
        if size < 8:
            frontier.append(leaf_hash(CT_LEAVES[size]))


@pytest.mark.parametrize(("place", "path"), CT_INCLUSION.items())
def test_inclusion_proofs_are_those_of_certificate_transparency(place, path):
    index, size = place
    assert [node.hex() for node in inclusion_proof(index, hashes(size))] == path
    root = bytes.fromhex(CT_ROOTS[size])
    assert includes(leaf_hash(CT_LEAVES[index]), index, size, [bytes.fromhex(node) for node in path], root)


@pytest.mark.parametrize(("sizes", "path"), CT_CONSISTENCY.items())
def test_consistency_proofs_are_those_of_certificate_transparency(sizes, path):
    old, new = sizes
    assert [node.hex() for node in consistency_proof(old, hashes(new))] == path
    nodes = [bytes.fromhex(node) for node in path]
    assert extends(old, bytes.fromhex(CT_ROOTS[old]), new, bytes.fromhex(CT_ROOTS[new]), nodes)


def slow_root(leaves):
    """Section 2.1 of the RFC word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = max(2**n for n in range(20) if 2**n < len(leaves))
    return sha256(b"\1" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


logs = st.lists(st.binary(max_size=6), min_size=1, max_size=40)


@given(logs, st.data())
def test_every_proof_verifies_and_no_other_leaf_index_size_or_root_does(log, data):
    leaves = [leaf_hash(leaf) for leaf in log]
    root = root_of(leaves)
    assert root == slow_root(log)
    index = data.draw(st.integers(0, len(log) - 1))
    path = inclusion_proof(index, leaves)
    assert includes(leaves[index], index, len(log), path, root)
    assert not includes(leaf_hash(log[index] + b"x"), index, len(log), path, root)
    assert not includes(leaves[index], index, len(log), path, sha256(root).digest())
    for other in set(range(len(log))) - {index}:
        assert leaves[other] == leaves[index] or not includes(leaves[other], index, len(log), path, root)
        if log.count(log[index]) == 1:
            assert not includes(leaves[index], other, len(log), path, root)
    assert not includes(leaves[index], index, len(log), [*path, root], root)
    if path:
        assert not includes(leaves[index], index, len(log), path[:-1], root)
        spoilt = data.draw(st.integers(0, len(path) - 1))
        assert not includes(leaves[index], index, len(log), [*path[:spoilt], EVIL, *path[spoilt + 1 :]], root)


EVIL = b"\x55" * 32


@given(logs, st.data())
def test_a_log_extends_its_beginnings_and_nothing_else(log, data):
    leaves = [leaf_hash(leaf) for leaf in log]
    size = data.draw(st.integers(1, len(log)))
    path = consistency_proof(size, leaves)
    old, new = root_of(leaves[:size]), root_of(leaves)
    assert extends(size, old, len(log), new, path)
    assert extends(0, merkle.EMPTY, len(log), new, [])
    assert not extends(size, EVIL, len(log), new, path)
    assert not extends(size, old, len(log), EVIL, path)
    assert not extends(size, old, len(log), new, [*path, EVIL])
    changed = data.draw(st.integers(0, size - 1))
    rewritten = [*log[:changed], log[changed] + b"x", *log[changed + 1 :]]
    others = [leaf_hash(leaf) for leaf in rewritten]
    assert not extends(size, old, len(log), root_of(others), consistency_proof(size, others))


def test_wrong_sizes_are_refused():
    for call in (lambda: inclusion_proof(3, hashes(3)), lambda: consistency_proof(0, hashes(3)), lambda: Frontier(3, b"")):
        with pytest.raises(ValueError, match="got"):
            call()
    assert not extends(3, EVIL, 2, EVIL, [])
    assert not includes(EVIL, 2, 2, [], EVIL)
