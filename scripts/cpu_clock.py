"""A conemos command by the processor's clock: waiting for other programs does not count.

They still slow it down where they share caches and memory: with two trainings on two cores, the same steps took 194 to
213 s.

    OMP_NUM_THREADS=1 python scripts/cpu_clock.py train study.json --minutes 5

``seconds`` of curve.csv and ``--minutes`` are then of this process's one thread.
"""

import time

time.perf_counter = time.process_time

from conemos_bundle.cli.app import main  # noqa: E402  # its modules take the clock from `time`

if __name__ == "__main__":
    main()
