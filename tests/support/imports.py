"""Which modules an import loads."""

import subprocess
import sys

from support import ROOT


def loaded_modules(*names: str) -> set[str]:
    """Import the modules `names` in a fresh process; returns the keys of its sys.modules."""
    code = f"import sys, {', '.join(names)}; print(*sys.modules, sep='\\n')"
    environment = {"PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
