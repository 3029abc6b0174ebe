"""Where Python looks for modules: not in the folder that the command happens to be started in.

Nothing may be imported here that Python has not loaded by itself: it could come from that very folder.
"""

import os
import sys


def leave_out_current_folder() -> None:
    """Remove the current folder, which `python -m` adds, from the search path, for child processes too.

    A folder that somebody else filled may hold a `torch.py` or `yaml.py`. What PYTHONPATH names stays, and so does the
    folder that this package itself lies in.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed; nothing can be found there
        return
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    first_is_here = not sys.flags.safe_path and sys.path[:1] in ([here], [""])
    if os.path.realpath(here) == package:
        return
    if first_is_here:
        del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"  # glfw runs `python -c` where a simulator's package is loaded
