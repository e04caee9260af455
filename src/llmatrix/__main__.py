"""``llmatrix``, and ``python -m llmatrix``."""

import sys
from pathlib import Path


def main() -> None:
    """Take a step that has nothing to do at once; import the command line for everything else."""
    match sys.argv[1:]:
        case ["step", step, "--work", work, "--told", told]:
            from llmatrix.steps.idle import take  # noqa: PLC0415 - nothing else is to be imported

            if take(step, Path(work), Path(told)):
                return
    from llmatrix.cli.main import main as command  # noqa: PLC0415 - as above

    command()


if __name__ == "__main__":
    main()
