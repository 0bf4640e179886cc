"""Ask the BIDS validator about a dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def errors_of(dataset: Path) -> list[dict[str, Any]]:
    """List what the validator calls errors; without one beside this Python the test is skipped."""
    validator = Path(sys.executable).with_name('bids-validator-deno')
    if not validator.exists():
        pytest.skip('bids-validator-deno is not installed beside this Python')
    result = subprocess.run(
        [str(validator), str(dataset), '--json'], capture_output=True, text=True, check=False
    )
    issues = json.loads(result.stdout)['issues']['issues']
    return [issue for issue in issues if issue.get('severity') == 'error']
