"""Writes and reads recordings with python-can, as the other side of tests/python_can.

    oracle.py DIRECTORY [--samples DIRECTORY] [--log LOG]... [--ours LOG]...

Into the directory go recordings of random frames in all formats that python-can writes, variants of them by text, and
the candump logs that are named, converted. Printed are, as lines of JSON, for each recording its name and how it is to
be read, then each frame as python-can reads it, then the end. Samples are recordings that are there already.
"""

import argparse
import json
import os
import random
import re
import sys
import time
from pathlib import Path

import can

START = 1_700_000_000.123456
LENGTHS = (*range(9), 12, 16, 20, 24, 32, 48, 64)
FRAMES = 1500


def messages(seed, fd=True, others=True, channels=3):
    """Random frames of all kinds, in the order of their times, which are whole microseconds."""
    rng = random.Random(seed)
    micros = round(START * 1e6)
    result = []
    for _ in range(FRAMES):
        micros += rng.choice((0, 1, 17, 1000, rng.randrange(2_000_000)))
        extended = rng.random() < 0.5
        about = {
            "timestamp": micros / 1e6,
            "channel": rng.randrange(channels),
            "is_extended_id": extended,
            "arbitration_id": rng.choice((0, 0x1FFFFFFF if extended else 0x7FF, rng.randrange(1 << (29 if extended else 11)))),
            "is_rx": rng.random() < 0.8,
        }
        kind = rng.random()
        if kind < 0.4 and fd:
            data = rng.randbytes(rng.choice(LENGTHS))
            about |= {"is_fd": True, "bitrate_switch": rng.random() < 0.5, "error_state_indicator": rng.random() < 0.5}
        elif kind < 0.5 and others:
            about |= {"is_remote_frame": True, "dlc": rng.randrange(9)}
            data = None
        elif kind < 0.6 and others:
            about |= {"is_error_frame": True, "is_extended_id": False, "arbitration_id": 0}
            data = None
        else:
            data = rng.randbytes(rng.randrange(9))
        result.append(can.Message(data=data, check=True, **about))
    return result


def write(path, frames, **options):
    with can.Logger(path, **options) as log:
        for frame in frames:
            log(frame)
    return path


def show(path, expected=None, **about):
    """`expected`: the recording whose frames these are, when python-can cannot read this one rightly."""
    print(json.dumps({"file": str(path), **about}))
    count = 0
    try:
        # ASC times are made absolute only on demand; the other readers do not mind.
        for m in can.LogReader(expected or path, relative_timestamp=False):
            count += 1
            kind = "error" if m.is_error_frame else "remote" if m.is_remote_frame else "fd" if m.is_fd else "data"
            flags = [m.bitrate_switch, m.error_state_indicator]
            print(json.dumps([repr(m.timestamp), m.channel, m.arbitration_id, m.is_extended_id, kind, *flags, m.dlc, m.data.hex()]))
    except Exception as error:  # noqa: BLE001: whatever it says is a refusal
        print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
        return
    print(json.dumps({"end": count}))


def decimal(source, target):
    """An ASC file in base 10."""

    def number(text):
        return f"{int(text[:-1], 16)}x" if text.endswith("x") else str(int(text, 16))

    with open(source) as lines, open(target, "w") as out:
        for line in lines:
            words = line.split()
            if line.startswith("base hex"):
                line = line.replace("base hex", "base dec")
            elif len(words) > 5 and words[1] == "CANFD":
                # Time, CANFD, channel, direction, identifier, two flags, DLC, length, data, the rest.
                end = 9 + int(words[8])
                fields = [*words[:4], number(words[4]), *words[5:7], number(words[7]), words[8]]
                fields += [number(word) for word in words[9:end]] + words[end:]
                line = " ".join(fields) + "\n"
            elif len(words) > 4 and words[3] in ("Rx", "Tx"):
                line = " ".join([*words[:2], number(words[2]), *words[3:5], *map(number, words[5:])]) + "\n"
            out.write(line)
    return target


def relative(source, target):
    """An ASC file whose times count from the event before."""
    last = 0
    with open(source) as lines, open(target, "w") as out:
        for line in lines:
            line = line.replace("timestamps absolute", "timestamps relative")
            if found := re.match(r"\s*(\d+)\.(\d{6}) ", line):
                now = int(found[1]) * 1_000_000 + int(found[2])
                line = f"{(now - last) // 1_000_000}.{(now - last) % 1_000_000:06} {line[found.end():]}"
                last = now
            out.write(line)
    return target


def trc(path, version, frames):
    """The versions that python-can reads and does not write."""
    first = frames[0].timestamp
    days = first / 86400 + 25569
    with open(path, "w", newline="\r\n") as out:
        out.write(f";$FILEVERSION={version}\n;$STARTTIME={days}\n")
        if version == "2.0":
            out.write(";$COLUMNS=N,O,T,I,d,l,D\n")
        out.write(";\n;   Written for a test\n;---+-- ------+------ +- --+----- +- +- +- -- -- -- -- -- -- --\n")
        for number, m in enumerate(frames, 1):
            offset = (m.timestamp - first) * 1000
            identifier = f"{m.arbitration_id:08X}" if m.is_extended_id else f"{m.arbitration_id:04X}"
            way, data = "Rx" if m.is_rx else "Tx", m.data.hex(" ").upper()
            rest = "RTR" if m.is_remote_frame else data
            if version == "1.1":
                out.write(f"{number:6}) {offset:11.1f}  {way}     {identifier:>8}  {m.dlc}  {rest}\n")
            elif version == "1.3":
                out.write(f"{number:6}) {offset:13.3f} {m.channel + 1:<2} {way}    {identifier:>8} -  {m.dlc:<4} {rest}\n")
            else:
                kinds = {(False, False): "FD", (True, False): "FB", (True, True): "FE", (False, True): "BI"}
                kind = "DT"
                if m.is_remote_frame:
                    kind = "RR"
                elif m.is_fd:
                    kind = kinds[m.bitrate_switch, m.error_state_indicator]
                out.write(f"{number:7} {offset:13.3f} {kind} {identifier:>8} {way} {m.dlc:<2} {data}\n")
    return path


def zone(text):
    os.environ["TZ"] = text
    time.tzset()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--log", action="append", default=[], type=Path)
    parser.add_argument("--ours", action="append", default=[], type=Path)
    args = parser.parse_args()
    to = args.directory
    # What python-can takes local time for.
    zone("UTC")

    everything = messages("everything")
    show(write(to / "random.asc", everything))
    show(decimal(to / "random.asc", to / "decimal.asc"))
    show(relative(to / "random.asc", to / "relative.asc"), expected=to / "random.asc")
    # The option for absolute times gets lost when python-can decompresses.
    show(write(to / "compressed.asc.gz", everything), undated=True)
    # In POSIX's notation the sign is the other way round.
    zone("XXX-05:30")
    show(write(to / "india.asc", everything), utc_offset="+05:30")
    zone("UTC")
    show(write(to / "random.blf", everything))
    show(write(to / "stored.blf", everything, compression_level=0))
    show(write(to / "pieces.blf", everything, max_container_size=500))
    # Its writer leaves out what is neither classic nor data.
    classic = messages("classic", fd=False, others=False)
    show(write(to / "random.trc", classic))
    for version, fd, channels in (("1.1", False, 1), ("1.3", False, 3), ("2.0", True, 1)):
        frames = [m for m in messages(version, fd=fd, channels=channels) if not m.is_error_frame]
        show(trc(to / f"v{version}.trc", version, frames))
    with can.TRCWriter(to / "v1.0.trc") as log:
        log.file_version = can.TRCFileVersion.V1_0
        for message in messages("v1.0", fd=False, others=False, channels=1):
            log(message)
    # It counts from the epoch.
    show(to / "v1.0.trc", undated=True)

    for log in args.log:
        frames = list(can.LogReader(log))
        for extension in ("asc", "blf", "trc"):
            # candump's bus names become channels by the number at their end.
            show(write(to / f"{log.stem}.{extension}", frames), source=str(log))

    for path in args.ours:
        show(path, source=str(path.with_suffix(".log")))

    if args.samples:
        for path in sorted(args.samples.iterdir()):
            if path.name.endswith((".asc", ".asc.gz", ".blf", ".trc")):
                show(path, sample=True, undated="V1_0" in path.name or path.suffix == ".gz")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
