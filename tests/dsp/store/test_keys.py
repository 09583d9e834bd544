"""Key files: made once, opened by their passphrase alone, refused in one line where they are something else."""

import json
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.store import keys


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_pair_that_is_written_is_the_pair_that_is_read(tmp_path, passphrase):
    public = keys.make_pair(tmp_path / "owner.key", passphrase)
    private = keys.load_private(tmp_path / "owner.key", passphrase)
    raw = private.private_bytes_raw()
    assert private.public_key() == keys.load_public(public)
    assert keys.needs_passphrase(tmp_path / "owner.key") == bool(passphrase)
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o600
    text = (tmp_path / "owner.key").read_bytes()
    assert (keys.base64.b64encode(raw) in text) == (passphrase is None), "plain where nothing protects it, and only there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.key", "owner.pub"], "nothing is left beside them"


def test_a_wrong_passphrase_none_or_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "owner.key"
    keys.make_pair(path, "right")
    for passphrase, told in (("wrong", "passphrase is wrong"), (None, "wanted its passphrase"), ("", "wanted its passphrase")):
        with pytest.raises(InputError, match=told):
            keys.load_private(path, passphrase)
    kept = json.loads(path.read_text())
    for change in ({"key": "AAAA"}, {"key": 5}, {"kind": "else"}, {"scrypt": {"n": 2**40, "r": 8, "p": 1, "salt": ""}},
                   {"scrypt": {"n": "x", "r": 8, "p": 1, "salt": ""}}, {"scrypt": {}}):  # fmt: skip
        path.write_text(json.dumps(kept | change))
        with pytest.raises(InputError):
            keys.load_private(path, "right")


@given(st.binary(max_size=200))
def test_what_is_no_key_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("keys") / "owner.key"
    path.write_bytes(data)
    for load in (keys.load_private, keys.load_public, keys.needs_passphrase):
        with pytest.raises(InputError, match=r"owner\.key"):
            load(path)


def test_another_kind_of_key_is_refused(tmp_path):
    other = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "signing.pub").write_bytes(keys.pem(other))
    with pytest.raises(InputError, match="no X25519 public key"):
        keys.load_public(tmp_path / "signing.pub")
    read = serialization.load_pem_public_key((tmp_path / "signing.pub").read_bytes())
    assert read == other


def test_no_key_is_ever_overwritten(tmp_path):
    keys.make_pair(tmp_path / "owner.key", None)
    before = (tmp_path / "owner.key").read_bytes(), (tmp_path / "owner.pub").read_bytes()
    for name in ("owner.key", "owner.other", "owner.pub"):
        with pytest.raises(InputError, match=r"no key is lost|another suffix"):
            keys.make_pair(tmp_path / name, None)
    assert before == ((tmp_path / "owner.key").read_bytes(), (tmp_path / "owner.pub").read_bytes())
    with pytest.raises(InputError, match="cannot be written"):
        keys.make_pair(tmp_path / "nowhere" / "owner.key", None)


def test_a_device_has_secrets_of_its_own_and_keeps_them(tmp_path):
    (tmp_path / "other").mkdir()
    one, other = keys.Device(tmp_path, make=True), keys.Device(tmp_path / "other", make=True)
    again = keys.Device(tmp_path, make=True)
    assert (again.public, again.naming) == (one.public, one.naming)
    assert one.public != other.public and one.naming != other.naming != one.signing.private_bytes_raw()
    (tmp_path / "names.key").write_bytes(b"short")
    with pytest.raises(InputError, match="got 5 bytes, wanted 32"):
        keys.Device(tmp_path)
