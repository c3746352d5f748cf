"""`python -m fairlead.bench.report.aside FOLDER FORM…`: the reports of a run in its folder, in a process of its own:
pages and the plots in them take memory that the process of the load does not have to keep.

Prints the name of each file that it has written; at the end of one that did not succeed, why, with exit status 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fairlead.bench.report.files import FORMS, Sources, write_report
from fairlead.bench.results.store import load


def main(folder: str, *forms: str) -> int:
    """Returns the exit status."""
    try:
        kept = load(Path(folder))
        sources = Sources(kept)
        for form in (form for form in FORMS if form in forms):
            for file in write_report(kept, form, Path(folder), sources):
                print(file.name, flush=True)
    except (OSError, ValueError) as error:
        print(f"{error.filename or folder}: {error.strerror}" if isinstance(error, OSError) else error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
