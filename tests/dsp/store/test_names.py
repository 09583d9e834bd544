"""Names under which anything leaves: what they tell of a device, which is nothing."""

import base64
import json
import random
from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from farfield.store import names
from farfield.store.sampling import DAY
from reference.keeping import keep, make_store, marked


def serial_hash(serial, secret, epoch):
    """A planted fault: a pseudonym that anyone can make who knows the serial number."""
    return sha256(f"{serial}:{epoch}".encode()).hexdigest()


def xored(serial, secret, epoch):
    """Another: a secret name that the epoch only changes a little."""
    return (int.from_bytes(sha256(secret).digest()) ^ epoch).to_bytes(32).hex()


def chained(serial, secret, epoch):
    """Another: each name is the hash of the one before."""
    name = sha256(secret).digest()
    for _ in range(epoch - 700):
        name = sha256(name).digest()
    return name.hex()


def keyed(serial, secret, epoch):
    return names.pseudonym(secret, epoch * 30 * DAY, 30)


def linked(naming, devices=120):
    """How many devices somebody links over two epochs who knows all serial numbers, the code, and both epochs' pseudonyms.

    They try each serial number, and each pseudonym they have seen, as what the names are made of, and each pseudonym's hash, and
    after that take the most similar names to be one device's.
    """
    chance = random.Random(3)
    known = [(f"SN{n:06d}", chance.randbytes(32)) for n in range(devices)]
    before, after = ([naming(*device, epoch) for device in known] for epoch in (700, 701))
    shuffled = sorted(after)
    guesses = {}
    for name in before:
        tries = [(serial, serial.encode()) for serial, _ in known] + [(name, bytes.fromhex(name)), ("", bytes(32))]
        for serial, guessed in tries:
            made = naming(serial, guessed, 700), naming(serial, guessed, 701)
            if made[0] == name and made[1] in shuffled:
                guesses[name] = made[1]
        if (hashed := sha256(bytes.fromhex(name)).hexdigest()) in shuffled:
            guesses[name] = hashed
    bits = {name: np.unpackbits(np.frombuffer(bytes.fromhex(name), np.uint8)).astype(int) for name in before + after}
    for name in set(before) - set(guesses):
        guesses[name] = min(shuffled, key=lambda other: int(np.abs(bits[name] - bits[other]).sum()))
    return sum(guesses[name] == other for name, other in zip(before, after, strict=True))


def test_pseudonyms_of_two_epochs_cannot_be_linked_and_those_of_a_serial_number_can():
    """By chance one of 120 is right on average; eight or more are, once in a hundred thousand times."""
    assert linked(keyed) < 8
    assert [linked(weak) for weak in (serial_hash, xored, chained)] == [120, 120, 120]


def shared(one, other, window=6):
    """What two packages have in common: fields of equal value, and any six bytes of what is sealed or wrapped or of the text."""
    equal = {name for name in one if one[name] == other[name]}
    raw = [[base64.b64decode(told["sealed"]), base64.b64decode(told["wrap"]),
            *(str(told[name]).encode() for name in ("alias", "pseudonym", "signature"))] for told in (one, other)]  # fmt: skip
    parts = [{held[at : at + window] for held in side for at in range(len(held) - window + 1)} for side in raw]
    return equal, parts[0] & parts[1]


@pytest.mark.parametrize("planted", [False, True])
def test_two_clips_of_one_device_share_what_two_of_two_devices_share(tmp_path, monkeypatch, planted):
    """The format's own bytes, that is. Planted: the device's serial number in the alias.

    Looked at three times, with all secrets drawn anew: a byte of chance behind the format's own, or six letters of hexadecimal,
    agree once in some seventy times. What links a device is there each time.
    """
    looks = [only_one_device_shares(tmp_path / str(number), monkeypatch, planted) for number in range(3)]
    assert all(looks) == planted


def only_one_device_shares(folder, monkeypatch, planted):
    """What two packages of one device have in common, each a month's, and no two of two devices."""
    told, count = {}, iter(range(100))
    for device in ("one", "other"):
        serial = sha256(device.encode()).hexdigest()[:12]
        if planted:
            monkeypatch.setattr(names, "fresh", lambda serial=serial: f"{serial}{next(count):020x}")
        (out := folder / f"{device} out").mkdir(parents=True)
        store, clock = make_store(folder / device, consents=("store", "review"), sample_share=1.0, retention_days=99)
        for epoch in range(2):
            keep(store, marked(len(told), 0.05))
            clock.go(days=31)
            (alias,) = store.export_review(out)
            told[device, epoch] = json.loads((out / f"{alias}.json").read_text())
    of_one_device, of_two = set(), set()
    for one, other in combinations(told, 2):
        equal, parts = shared(told[one], told[other])
        assert equal == {"kind", "why", "train"} | ({"hour"} if one[1] == other[1] else set())
        if one[0] == other[0]:
            of_one_device |= parts
        else:
            of_two |= parts
    assert of_two
    return of_one_device - of_two


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(0, 2**32), st.integers(1, 366))
def test_a_pseudonym_is_the_devices_for_an_epoch_and_no_other(secret, other, at, epoch_days):
    name, length = names.pseudonym(secret, at, epoch_days), epoch_days * DAY
    first = at // length * length
    assert name == names.pseudonym(secret, first, epoch_days) == names.pseudonym(secret, first + length - 1, epoch_days)
    others = [names.pseudonym(secret, first + length, epoch_days), names.pseudonym(secret, first - 1, epoch_days)]
    others += [names.pseudonym(other, at, epoch_days)] if other != secret else []
    assert name not in others and len(name) == 64
    assert names.hour(at) <= at < names.hour(at) + 3600 and names.hour(at) % 3600 == 0


def test_a_pseudonyms_bits_are_as_random():
    """Each of 256 bits is one half of the time set, and two epochs differ in half of them: z-scores over 2,000 names."""
    made = [names.pseudonym(bytes(31) + b"\7", epoch * DAY, 1) for epoch in range(2_000)]
    bits = np.array([np.unpackbits(np.frombuffer(bytes.fromhex(name), np.uint8)) for name in made])
    bits = bits[:, np.arange(256) != 255 - 7]  # the sign bit and the top of a curve point's y are not uniform to the last bit
    assert np.abs((bits.mean(axis=0) - 0.5) / (0.5 / np.sqrt(2_000))).max() < 5
    differing = (bits[1:] != bits[:-1]).mean()
    assert abs(differing - 0.5) / (0.5 / np.sqrt(bits[1:].size)) < 5
    counting = np.array([np.unpackbits(np.frombuffer(n.to_bytes(32, "big"), np.uint8)) for n in range(2_000)])  # planted
    assert np.abs((counting.mean(axis=0) - 0.5) / (0.5 / np.sqrt(2_000))).max() > 5


def test_the_signature_is_the_pseudonyms():
    signer = names.signer(bytes(32), 0, 30)
    assert isinstance(signer, Ed25519PrivateKey)
    assert signer.public_key().public_bytes_raw().hex() == names.pseudonym(bytes(32), 5, 30)
    assert len({names.fresh() for _ in range(1_000)}) == 1_000
