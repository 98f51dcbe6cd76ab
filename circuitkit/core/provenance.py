"""What a result was made with, so that it can be made again."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from circuitkit.core.version import __version__

_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "scipy")


def provenance(*, device: str, dtype: str, command: str | None = None) -> dict[str, Any]:
    """Versions, device and command of a run. No time stamp: the same run gives the same file.

    Args:
        device: Device that the models ran on.
        dtype: Number format of the weights, for example `float32`.
        command: The command line or the Python call that made the result.
    """
    versions = {"circuitkit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"command": command, "device": device, "dtype": dtype, "versions": versions}
