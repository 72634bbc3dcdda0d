"""A page in a headless Chromium, and all that it says and asks for."""

import shutil
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Opened:
    """A page, with what it wrote to the console, the errors, and the addresses it asked for."""

    def __init__(self, page):
        self.page, self.said, self.asked = page, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def wait(self):
        """Until both views have answered."""
        for side in ("Left", "Right"):
            self.page.wait_for_selector(f'[aria-label="{side} view"][aria-busy=false]')

    def choose(self, name, value):
        """Set a control, and wait for what it changes."""
        element = self.page.locator(f"#{name}")
        if element.evaluate("e => e.tagName") == "SELECT":
            element.select_option(value)
        else:
            element.fill(value)
        self.wait()

    def text(self, name):
        return self.page.locator(f"#{name}").inner_text()


@contextmanager
def opened(path, **context):
    """A file in a fresh browser; options as of Playwright's new_context."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = Opened(browser.new_context(**context).new_page())
        found.page.set_default_timeout(120_000)
        found.page.goto(path.as_uri())
        found.wait()
        yield found
        browser.close()
