"""An encoder of the tests, and the real server with the real kubectl beside it."""

from __future__ import annotations

import sys
from pathlib import Path

# The encoder is shared by this folder's tests.
sys.path.insert(0, str(Path(__file__).parent))
