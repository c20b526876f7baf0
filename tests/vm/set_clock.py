#!/usr/bin/env python3
"""In a guest: set_clock.py FOLDER sets its clock to that of whoever serves FOLDER by 9p, who says when a file was changed.

Some times of a virtio-fs mount are given by the guest, others by the host, and tests look at their order.
"""

import os
import sys
import time

path = os.path.join(sys.argv[1], "now")
best = None
for _ in range(20):
    with open(path, "wb") as file:
        before = time.time_ns()
        file.write(b"x")
        file.flush()
        after = time.time_ns()
    offset = os.stat(path).st_mtime_ns - (before + after) // 2
    if best is None or after - before < best[0]:
        best = (after - before, offset)
os.unlink(path)
time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + best[1])
print(f"the clock was {-best[1] / 1e6:.1f} ms ahead, known to {best[0] / 2e6:.1f} ms")
