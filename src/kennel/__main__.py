"""`python -m kennel`, and the `kennel` command itself: nothing slow is imported before Ctrl-C is heard."""

import os
import signal
import sys


def main() -> None:
    """Runs the command. Ctrl-C while it starts ends it without a traceback, with exit code 130."""
    try:
        from kennel.cli import main as command

        command()
    except KeyboardInterrupt:
        # Half-imported libraries may fail while Python clears away; nothing is open yet.
        sys.stderr.write("Aborted.\n")
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
