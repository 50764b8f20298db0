"""What the driver on a Spark worker runs: a verb of ours, in a process that ends with the driver.

Spark's own launcher of Python programs (``PythonRunner``) starts it in a JVM that the worker
watches. The verb starts its session in a JVM of its own, as it does anywhere else, so that one
place says how. ``python driver.py VERB …``
"""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1

# A killed driver leaves its Python behind unless the kernel is asked to take that along.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
# The launcher offers its own JVM for a session, which lacks ours memory, options and jars.
for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"):
    os.environ.pop(name, None)

if __name__ == "__main__":
    from lakehouse.cli import main

    main()
