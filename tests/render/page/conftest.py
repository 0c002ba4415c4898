"""One Chromium for all tests of the page; without one they are skipped, and say how to get it."""

import os

import pytest
from chromium import Chromium, found

WHERE = "no Chromium on this machine; on Debian: sh tools/install_chromium.sh"


@pytest.fixture(scope="session")
def chromium():
    if found() is None:
        if os.environ.get("CI"):  # there the script has installed one: to skip would be to lie
            pytest.fail(WHERE)
        pytest.skip(WHERE)
    with Chromium() as browser:
        yield browser


@pytest.fixture
def show(chromium):
    """``show(page)`` gives a tab; at the end no page may have complained."""
    tabs = []

    def open_page(page, at="", **options):
        tabs.append(chromium.open(page, at, **options))
        return tabs[-1]

    yield open_page
    complaints = [told for tab in tabs for told in tab.complaints()]
    for tab in tabs:
        tab.close()
    assert complaints == []
