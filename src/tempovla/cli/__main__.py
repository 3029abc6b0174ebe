"""`python -m tempovla.cli` is `tempovla`."""

import sys

from tempovla.cli.main import main

sys.exit(main())
