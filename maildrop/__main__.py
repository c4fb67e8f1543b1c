"""``python -m maildrop`` is ``maildropd``."""

from maildrop.cli import main

if __name__ == "__main__":
    main()
