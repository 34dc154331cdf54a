"""`python -m zerosearch` is `zerosearch`."""

from zerosearch.cli import main

if __name__ == "__main__":
    main()
