"""A CAN controller on a pseudo-terminal, and the wire behind it.

The kernel's slcan driver drives it like a real one: it has a bitrate, a state and a listen-only mode.
What the driver writes goes to standard output, a line for each command; lines of standard input are what
the controller says (`t1232AABB` is a frame). The first line printed is the interface's name.
"""

import fcntl
import os
import pty
import struct
import sys
import threading
import tty

TIOCSETD = 0x5423
N_SLCAN = 17
SIOCGIFNAME = 0x8910

wire, line = pty.openpty()
tty.setraw(wire)
tty.setraw(line)
fcntl.ioctl(line, TIOCSETD, struct.pack("i", N_SLCAN))
print(fcntl.ioctl(line, SIOCGIFNAME, bytes(64)).split(b"\0")[0].decode(), flush=True)


def listen():
    while True:
        sys.stdout.write(os.read(wire, 4096).decode().replace("\r", "\n"))
        sys.stdout.flush()


threading.Thread(target=listen, daemon=True).start()
for said in sys.stdin:
    os.write(wire, said.rstrip("\n").encode() + b"\r")
