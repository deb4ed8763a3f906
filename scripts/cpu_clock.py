"""A conemos command by the processor's clock: what else runs on the machine makes no training longer, or shorter.

    OMP_NUM_THREADS=1 python scripts/cpu_clock.py train study.json --minutes 5

``seconds`` of curve.csv and ``--minutes`` are then of this process's one thread.
"""

import time

time.perf_counter = time.process_time

from conemos_bundle.cli.app import main  # noqa: E402  # its modules take the clock from `time`

if __name__ == "__main__":
    main()
