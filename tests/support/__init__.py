"""What tests share: archives, servers on loopback, the stages by hand, the workflow as a process."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# The archive of real tiles; tests that need it are skipped where it is not there.
REAL_ARCHIVE = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
