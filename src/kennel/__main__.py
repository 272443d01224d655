"""`python -m kennel` and the `kennel` command. Slow imports come after Ctrl-C is handled."""

import os
import signal
import sys


def main() -> None:
    """Runs the command. Ctrl-C during the start exits without a traceback, with code 130."""
    try:
        from kennel.cli import main as command

        command()
    except KeyboardInterrupt:
        # Half-imported libraries may fail while Python shuts down.
        sys.stderr.write("Aborted.\n")
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
