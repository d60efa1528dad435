"""Looks at a page of `selfie report` in Chromium, and photographs it.

    python testdata/report_check.py REPORT.html PICTURES

At the width of a desk and of a phone, light and dark: nothing is logged, nothing is requested, `report_look.js` has no complaint,
every chart's values show under a real pointer. Writes PICTURES/desk-light.png and so on, to be looked at. Needs playwright (PyPI)
and a Chromium in PATH. Not part of CI, where `tests/e2e/page.rs` asks `report_look.js` without a driver.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
LOOK = Path(__file__).with_name("report_look.js").read_text()


def main():
    page_path, pictures = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for screen, (width, height) in SCREENS.items():
            for scheme in ["light", "dark"]:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                found = look(context.new_page(), page_path, pictures / f"{screen}-{scheme}.png")
                complaints += [f"{screen}, {scheme}: {complaint}" for complaint in found]
                context.close()
        browser.close()
    for complaint in complaints:
        print(complaint)
    sys.exit(f"{len(complaints)} complaints" if complaints else None)


def look(page, path, picture):
    complaints = []
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    url = path.as_uri()
    page.on("request", lambda request: complaints.append(f"request: {request.url}") if request.url.split(":")[0] not in ("data", "file") or
            (request.url.startswith("file") and request.url != url) else None)
    page.goto(url)
    page.screenshot(path=picture, full_page=True)
    complaints += page.evaluate(LOOK)
    complaints += hover(page)
    return complaints


def hover(page):
    """Every chart shows a step and a value under the pointer, within the screen."""
    complaints = []
    for chart in page.query_selector_all("figure.chart"):
        title = chart.query_selector("figcaption").inner_text()
        svg = chart.query_selector("svg")
        svg.scroll_into_view_if_needed()
        svg.hover()
        shown = page.inner_text("#tooltip")
        if not shown.startswith("step ") or ":" not in shown:
            complaints.append(f'chart "{title}" shows "{shown}" under the pointer')
        box = page.eval_on_selector("#tooltip", "one => one.getBoundingClientRect().toJSON()")
        size = page.viewport_size
        if box["left"] < 0 or box["right"] > size["width"] or box["top"] < 0 or box["bottom"] > size["height"]:
            complaints.append(f'the values of chart "{title}" leave the screen')
    return complaints


if __name__ == "__main__":
    main()
