"""`python -m pace_core`: the core without any service; `train SPEC.yaml` and `predict ADAPTER IMAGE…`."""

import importlib
import signal

if __name__ == "__main__":
    # torch takes seconds to load; until the commands are there, Ctrl-C ends us without a page of traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module("pace_core.commands").main()
