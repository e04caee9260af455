"""Vega, Vega-Lite and Vega-Embed as one script, bundled in a process of its own.

To bundle them takes a second and a half in which no other thread of Python may run, so it is
done beside the reading of the records; once for each process that makes pages.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Final

import vl_convert
from markupsafe import Markup

_SNIPPET: Final = "window.vegaEmbed = vegaEmbed; window.vegaLite = vegaLite; window.vega = vega;"
_PROGRAM: Final = (
    "import sys, vl_convert; "
    "sys.stdout.buffer.write(vl_convert.javascript_bundle(sys.argv[1]).encode())"
)
_made: Final[dict[str, Markup]] = {}


def bundling() -> Callable[[], Markup]:
    """Begin to bundle; what is given back waits for the script."""
    if _SNIPPET in _made:
        return lambda: _made[_SNIPPET]
    command = [sys.executable, "-I", "-c", _PROGRAM, _SNIPPET]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def wait() -> Markup:
        content, _ = process.communicate()
        if process.returncode or not content:  # no second process here: then in this one
            content = vl_convert.javascript_bundle(_SNIPPET).encode()
        script = content.decode().replace("</script", "<\\/script")
        _made[_SNIPPET] = Markup(script)  # noqa: S704 - a library of ours
        return _made[_SNIPPET]

    return wait
