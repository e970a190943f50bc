"""Decodes payloads with cantools, as the other side of tests/cantools.

    oracle.py FILE...        a line of JSON for each message and payload, each file followed by its summary

Payloads are all zeros, all ones, and random ones from a seed that is the message's; for multiplexed messages also
random ones with each value that a multiplexor knows. Numbers that may not be exact in JSON are their bits: of a raw
integer the decimal digits, of a physical value and of a float the 64 bits of the double nearest to it, in hexadecimal.
"""

import json
import random
import struct
import sys

import cantools
from cantools.database.can.message import Message

RANDOM = 12


def double(value):
    return struct.pack(">d", float(value)).hex()


def selections(message: Message):
    """Each multiplexor's values with where its bits are: what to set to see each signal once."""
    found = []
    for signal in message.signals:
        if not signal.multiplexer_ids or signal.multiplexer_signal is None:
            continue
        chain = []
        below = signal
        while below.multiplexer_ids and below.multiplexer_signal is not None:
            # Where names are cut to 32 characters, cantools knows the whole one and refers to the cut one.
            above = next(s for s in message.signals if s.name[:32] == below.multiplexer_signal[:32])
            chain.append((above, below.multiplexer_ids))
            below = above
        # The first and the last of what selects it.
        for pick in (0, -1):
            found.append([(above, ids[pick]) for above, ids in chain])
    unique = {tuple((above.name, value) for above, value in chain): chain for chain in found}
    return list(unique.values())


def positions(signal):
    """The signal's bits, least significant first, as (byte, bit)."""
    if signal.byte_order == "little_endian":
        return [divmod(signal.start + n, 8) for n in range(signal.length)]
    at, result = signal.start, []
    for _ in range(signal.length):
        result.append(divmod(at, 8))
        at = at + 15 if at % 8 == 0 else at - 1
    return result[::-1]


def put(payload, signal, raw):
    for n, (byte, bit) in enumerate(positions(signal)):
        if byte < len(payload):
            payload[byte] = payload[byte] & ~(1 << bit) | (raw >> n & 1) << bit


def payloads(message: Message, rng):
    length = message.length
    yield bytes(length)
    yield b"\xff" * length
    for _ in range(RANDOM):
        yield rng.randbytes(length)
    for chain in selections(message):
        payload = bytearray(rng.randbytes(length))
        # From the inside out: an outer multiplexor may share bits with nothing, but be sure that it wins.
        for above, value in chain:
            put(payload, above, value)
        yield bytes(payload)


def decode(message: Message, payload):
    """What is in the frame, by name: raw value, physical value, label."""
    result = {}
    raws = message.decode(payload, decode_choices=False, scaling=False, decode_containers=False)
    scaled = message.decode(payload, decode_choices=False, scaling=True, decode_containers=False)
    for name, raw in raws.items():
        signal = message.get_signal_by_name(name)
        label = signal.choices.get(raw) if signal.choices else None
        result[name] = [
            double(raw) if isinstance(raw, float) else str(raw),
            double(scaled[name]),
            None if label is None else str(label),
        ]
    return result


def run(path, out):
    # As this project reads them: cantools would take UTF-8 for code page 1252.
    with open(path, "rb") as file:
        text = file.read()
    try:
        text = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = text.decode("cp1252", errors="replace")
    try:
        database = cantools.database.load_string(text, database_format="dbc", strict=False)
    except Exception as error:  # noqa: BLE001: whatever it says is a refusal
        out.write(json.dumps({"refused": f"{type(error).__name__}: {error}"}) + "\n")
        return
    for message in database.messages:
        rng = random.Random(f"{message.name} {message.frame_id}")
        about = {"id": message.frame_id, "extended": message.is_extended_frame, "name": message.name}
        for payload in payloads(message, rng):
            try:
                answer = {"signals": decode(message, payload)}
            except Exception as error:  # noqa: BLE001
                answer = {"error": f"{type(error).__name__}: {error}"}
            out.write(json.dumps({**about, "payload": payload.hex(), **answer}) + "\n")
    out.write(json.dumps({"end": len(database.messages)}) + "\n")


for file in sys.argv[1:]:
    run(file, sys.stdout)
