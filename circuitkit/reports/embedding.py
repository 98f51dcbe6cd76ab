"""Untrusted data and large scripts inside one HTML file."""

import base64
import functools
import gzip
import json
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markupsafe import Markup

from circuitkit.core.errors import ResultError

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_CIRCUITSVIS_SCRIPT = "dist/cdn/iife.js"


def script_json(value: Any) -> Markup:  # noqa: ANN401 - anything that JSON can hold
    """JSON that may stand inside a script element whatever strings it holds.

    `<`, `>`, `&` and the two Unicode line separators become JSON escapes, so neither `</script>` nor
    `<!--` can occur.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


@functools.cache
def packed_plotly() -> str:
    """The vendored plotly script: gzip, then base64."""
    file = resources.files("circuitkit.reports") / "vendor" / "plotly-cartesian.min.js.gz"
    return base64.b64encode(file.read_bytes()).decode("ascii")


@functools.cache
def packed_circuitsvis() -> str:
    """The script of the installed circuitsvis package: gzip, then base64.

    It is found without importing the package, whose own rendering loads the script from a network.

    Raises:
        ResultError: The package or its script is not there.
    """
    spec = find_spec("circuitsvis")
    file = Path(spec.origin).parent / _CIRCUITSVIS_SCRIPT if spec and spec.origin else None
    if file is None or not file.is_file():
        raise ResultError(
            "The report needs the script of circuitsvis, which is not installed whole. Install circuitsvis."
        )
    script = file.read_bytes()
    # The source map is another file; without this line a browser's tools would ask for it.
    script = script.split(b"\n//# sourceMappingURL=")[0]
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")
