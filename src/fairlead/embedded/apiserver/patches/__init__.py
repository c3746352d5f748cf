"""How a PATCH body changes an object: JSON patch, JSON merge patch and strategic merge patch, as pure functions.

None of them mutates its arguments, and no result shares a container with them, so callers may change it in place.
"""

from fairlead.embedded.apiserver.patches.json_patch import apply_json_patch
from fairlead.embedded.apiserver.patches.merge import apply_merge_patch
from fairlead.embedded.apiserver.patches.strategic import apply_strategic_patch

__all__ = ["apply_json_patch", "apply_merge_patch", "apply_strategic_patch"]
