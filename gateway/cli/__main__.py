"""`python -m gateway.cli` is `fieldgate`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
