"""`python -m withstand` is the command `withstand`."""

from withstand.cli.main import main

if __name__ == "__main__":
    main()
