"""Fixtures of the passes' tests."""

import pytest

from minigrad.passes import norms_scale


@pytest.fixture(params=["real sizes", "small sizes"])
def sizes(request, monkeypatch):
    """find_norms as it treats small tensors, and as it treats large ones."""
    if request.param == "small sizes":
        monkeypatch.setattr(norms_scale, "SMALL", 0)
        monkeypatch.setattr(norms_scale, "KEPT", 1)
