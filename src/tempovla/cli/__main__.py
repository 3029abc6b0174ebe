"""`python -m tempovla.cli` is `tempovla`."""

import sys

from tempovla.cli.search_path import leave_out_current_folder

leave_out_current_folder()

from tempovla.cli.main import main  # noqa: E402 - what it imports must not come from the current folder

sys.exit(main())
