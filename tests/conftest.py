"""How properties are searched: at random for developers, the same examples every time in CI."""

import os

from hypothesis import settings

# The machine is shared: an example that takes long says nothing about the code.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
