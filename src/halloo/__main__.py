"""Run the command as `python -m halloo`."""

from halloo._cli.main import main

if __name__ == "__main__":
    main()
