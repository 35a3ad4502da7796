"""`python -m withstand` is the command `withstand`."""

from withstand.cli import main

if __name__ == "__main__":
    main()
