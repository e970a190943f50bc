"""Seeds for the fuzz targets: pieces of candump logs in all formats, and small DBC files.

    seeds.py CORPUS LOG_OR_DBC...      into CORPUS/candump, CORPUS/asc, CORPUS/trc, CORPUS/blf, CORPUS/dbc
"""

import gzip
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

LINE = re.compile(r"\(([\d.]+)\) \w+?(\d*) ([0-9A-F]+)#(#[0-9A-F])?([0-9A-F]*)")
FRAMES = 40


def frames(text):
    for line in text.splitlines()[:FRAMES]:
        if found := LINE.match(line):
            time, bus, number, fd, data = found.groups()
            yield float(time), int(bus or 0) + 1, int(number, 16), len(number) == 8, fd, bytes.fromhex(data)


def asc(frames):
    start = frames[0][0]
    lines = ["date Sat Sep 30 10:06:13.191 pm 2017", "base hex  timestamps absolute", "internal events logged"]
    for time, bus, number, extended, fd, data in frames:
        text = " ".join(f"{byte:02X}" for byte in data)
        number = f"{number:X}{'x' if extended else ''}"
        if fd:
            line = f"CANFD {bus} Rx {number} 1 0 {len(data):x} {len(data)} {text} 0 0 3000 0 0 0 0 0"
        else:
            line = f"{bus} {number} Rx d {len(data):x} {text}"
        lines.append(f"{time - start:11.6f} {line}")
    lines += ["  1.5 1 ErrorFrame", "  1.6 1 6F9 Rx r 8", "  1.7 SV: 1 0 1 ::x = 1"]
    return "\n".join(lines).encode()


def trc(frames):
    start = frames[0][0]
    lines = [";$FILEVERSION=2.1", ";$STARTTIME=43008.920986006", ";$COLUMNS=N,O,T,B,I,d,R,L,D"]
    for n, (time, bus, number, extended, fd, data) in enumerate(frames, 1):
        text = " ".join(f"{byte:02X}" for byte in data)
        kind = "FB" if fd else "DT"
        number = f"{number:08X}" if extended else f"{number:04X}"
        lines.append(f"{n:7} {(time - start) * 1000:13.3f} {kind} {bus} {number} Rx - {len(data)} {text}")
    return "\n".join(lines).encode()


def blf(frames):
    start = frames[0][0]
    objects = b""
    for time, bus, number, extended, fd, data in frames:
        number |= extended << 31
        if fd:
            body = struct.pack("<HBBIIBBBBI64s", bus, 0, min(len(data), 15), number, 0, 0, 3, len(data), 0, 0, data)
        else:
            body = struct.pack("<HBBI8s", bus, 0, len(data), number, data[:8])
        header = struct.pack("<4sHHIIIHHQ", b"LOBJ", 32, 1, 32 + len(body), 100 if fd else 86, 2, 0, 0, int((time - start) * 1e9))
        objects += header + body
    packed = zlib.compress(objects)
    container = struct.pack("<4sHHIIHxxxxxxIxxxx", b"LOBJ", 16, 1, 32 + len(packed), 10, 2, len(objects)) + packed
    moment = struct.pack("<8H", 2017, 9, 6, 30, 22, 6, 13, 191)
    header = struct.pack("<4sIBBBBBBBBQQII16s16s", b"LOGG", 144, 5, *[0] * 7, 0, 0, 0, 0, moment, moment)
    return header.ljust(144, b"\0") + container + b"\0" * (len(packed) % 4)


corpus = Path(sys.argv[1])
for name in ("candump", "asc", "trc", "blf", "dbc"):
    (corpus / name).mkdir(parents=True, exist_ok=True)
for path in map(Path, sys.argv[2:]):
    if path.suffix.lower() == ".dbc":
        if path.stat().st_size < 24_000:
            shutil.copyfile(path, corpus / "dbc" / path.name)
        continue
    if path.suffix == ".zst":
        head = subprocess.run(["sh", "-c", f"zstd -dc '{path}' | head -n {FRAMES}"], stdout=subprocess.PIPE, check=True).stdout
    else:
        head = path.read_bytes()
    (corpus / "candump" / path.stem).write_bytes(head)
    (corpus / "candump" / f"{path.stem}.gz").write_bytes(gzip.compress(head, mtime=0))
    some = list(frames(head.decode()))
    if some:
        for write in (asc, trc, blf):
            (corpus / write.__name__ / path.stem).write_bytes(write(some))
