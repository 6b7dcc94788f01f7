from __future__ import annotations

import pytest

from octavo.platforms._gpu import gpu_status


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `gpu` needs one."""
    reason = gpu_status().reason
    for item in items:
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {reason}"))
