"""Gives every Python process with this folder on its path the core built with sanitizers.

`make sanitize` sets TOOLKIT_SANITIZED_CORE to the module's file; processes that tests start inherit
it.
"""

import importlib.util
import os
import sys


class _Finder:
    """Finds `toolkit.runtime._core` in the sanitized build, before the installed one."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "toolkit.runtime._core":
            return importlib.util.spec_from_file_location(
                name, os.environ["TOOLKIT_SANITIZED_CORE"]
            )
        return None


if "TOOLKIT_SANITIZED_CORE" in os.environ:
    sys.meta_path.insert(0, _Finder)
