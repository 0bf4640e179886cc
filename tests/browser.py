"""The browser that pages are looked at with, and how it is kept quiet."""

import shutil

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
FLAGS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--no-first-run'),
    *('--disable-sync', '--disable-extensions'),
    *('--disable-background-networking', '--disable-component-update'),
)
