"""``python -m trtqat``."""

from trtqat.cli.main import main

if __name__ == "__main__":
    main()
