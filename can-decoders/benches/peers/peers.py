"""Microseconds a frame that cantools and opendbc's parser take for the frames of a case.

    peers.py DBC FRAMES     FRAMES: identifier (bit 31: extended) and payload of a frame on each line

Prints `cantools TIME LOAD` and `opendbc TIME LOAD` (LOAD: milliseconds to load the file), or why one cannot.
"""

import logging
import sys
import time

dbc, frames = sys.argv[1:]
frames = [line.split(" ") for line in open(frames).read().splitlines()]
# The standard library's flag for extended identifiers is not part of cantools' identifiers.
frames = [(int(number) & 0x1FFFFFFF, bytes.fromhex(payload)) for number, payload in frames][:20_000]


def median(passes, work):
    """The median of some passes, in seconds."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[passes // 2]


def cantools():
    from cantools.database import load_file

    start = time.perf_counter()
    database = load_file(dbc, strict=False)
    load = time.perf_counter() - start
    known = {message.frame_id for message in database.messages}
    mine = [(number, payload) for number, payload in frames if number in known]

    def work():
        for number, payload in mine:
            database.decode_message(number, payload, decode_choices=False)

    return median(5, work) / len(mine) * 1e6, load * 1e3


def opendbc():
    logging.disable()
    from opendbc.can import CANParser

    start = time.perf_counter()
    parser = CANParser(dbc, [], 0)
    load = time.perf_counter() - start
    parsed = set(parser.dbc.addr_to_msg)
    for number in parsed:
        parser._add_message(number)
    mine = [(number, payload, 0) for number, payload in frames if number in parsed]
    # What openpilot hands over each 10 ms.
    batches = [(n, mine[n : n + 20]) for n in range(0, len(mine), 20)]

    def work():
        for batch in batches:
            parser.update([batch])

    return median(3, work) / len(mine) * 1e6, load * 1e3


for peer in (cantools, opendbc):
    try:
        time_us, load_ms = peer()
        print(f"{peer.__name__} {time_us:.3f} {load_ms:.0f}")
    except Exception as error:
        print(f"{peer.__name__} cannot: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
