"""Let OpenMP's threads sleep while they wait. Import this before torch, which loads OpenMP.

By default they spin. That is a little faster on idle cores; on busy ones it keeps the threads they wait for from
running, and two threads train more slowly than one.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
