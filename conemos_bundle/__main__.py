"""The command ``conemos``; also ``python -m conemos_bundle``."""

from conemos_bundle.cli.app import main

if __name__ == "__main__":
    main()
