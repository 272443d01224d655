"""`python -m kennel` is the same command as `kennel`."""

from kennel.cli import main

if __name__ == "__main__":
    main()
