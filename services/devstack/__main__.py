"""`python -m services.devstack`: what `./plaudit` runs once everything is installed."""

import sys

from services.devstack import cli
from services.devstack.errors import CannotRunError


def main() -> int:
    """Runs a command; what cannot run says so in one sentence, with exit code 2."""
    parsed = cli.parse(sys.argv[1:])
    try:
        return cli.run(parsed)
    except CannotRunError as error:
        print(f"plaudit: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        if error.name is None or error.name.startswith("services."):
            raise  # this is our mistake
        missing = isinstance(error, ModuleNotFoundError)
        advice = "remove .venv to install again" if missing else "install what it asks for on this system"
        print(
            f"plaudit: the package {error.name.partition('.')[0]} cannot be loaded ({error}); {advice}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough; what was to be done is done or safe to repeat.
        sys.stderr.close()
        return 1


if __name__ == "__main__":
    sys.exit(main())
