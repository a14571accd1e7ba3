"""What all tests start from: signals as an interactive shell leaves them."""

from __future__ import annotations

import signal

# A job in the background of a script ignores SIGINT, and a supervisor may ignore SIGCHLD.  The
# programs of the tests would inherit that: they would not end at a Ctrl-C, and no test would
# learn their exit codes.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
