"""`python -m fairlead.simulator.server`."""

import sys

from fairlead.simulator.__main__ import main

sys.exit(main())
