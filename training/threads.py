"""Threads that wait for each other sleep meanwhile. To be imported before torch, which loads OpenMP, which reads this.

By default they look again and again whether the others are done. That is a bit faster as long as nothing else wants
the cores; otherwise it keeps those they wait for from running, and two threads learn more slowly than one.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
