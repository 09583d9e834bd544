"""The mic board protocol's bytes, slowly: COBS by the paper's description, CRC-32 bit by bit, fields one by one."""


def crc32(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def stuffed(data):
    """Runs of bytes without a zero, each led by its length plus one; 0xFF leads 254 bytes that no zero follows."""
    out, run = bytearray(), bytearray()
    for byte in data:
        if byte == 0:
            out += bytes([len(run) + 1]) + run
            run.clear()
        else:
            run.append(byte)
            if len(run) == 254:
                out += b"\xff" + run
                run.clear()
    # A last run of 254 may go without an empty one after it.
    return bytes(out) if not run and len(data) and data[-1] and out else bytes(out + bytes([len(run) + 1]) + run)


def number(value, size):
    return bytes(value >> 8 * n & 0xFF for n in range(size))


def line(kind, epoch, sequence, payload, version=1):
    plain = number(version, 1) + number(kind, 1) + number(epoch, 2) + number(sequence, 4) + payload
    return stuffed(plain + number(crc32(plain), 4)) + b"\0"


def audio(index, tick, overruns, microphones, references, rows):
    head = number(index, 8) + number(tick, 4) + number(overruns, 4)
    head += number(microphones, 1) + number(references, 1) + number(len(rows), 2)
    return head + b"".join(number(value & 0xFFFF, 2) for row in rows for value in row)


def about(rate, microphones, references, frames, running, name):
    return (number(rate, 4) + number(microphones, 1) + number(references, 1) + number(frames, 2) + number(running, 1)
            + name.encode())  # fmt: skip


VECTORS = {
    "ask": line(0x10, 0, 0, b""),
    "start": line(0x11, 0, 1, b""),
    "stop": line(0x12, 0, 0x01020304, b""),
    "set frames to 320": line(0x13, 0, 2, number(1, 1) + number(320, 4)),
    "done, START": line(0x03, 1, 7, b"\x11\x00"),
    "about": line(0x02, 0, 0, about(16_000, 4, 1, 160, 0, "b\N{LATIN SMALL LETTER O WITH DIAERESIS}ard")),
    "audio, one sample of silence": line(0x01, 1, 8, audio(0, 0, 0, 1, 0, [[0]])),
    "audio, extremes, index over 32 bits": line(
        0x01, 65_535, 0xFFFFFFFF, audio(2**40 + 1, 0xFFFFFFFF, 3, 2, 1, [[32_767, -32_768, -1], [1, 0, 256]])
    ),
    "audio, 254 bytes and more without a zero": line(0x01, 0x0101, 0x01010101, audio(
        0x0101010101010101, 0x01010101, 0x01010101, 1, 1, [[0x0101, 0x0202]] * 257
    )),
}  # fmt: skip
