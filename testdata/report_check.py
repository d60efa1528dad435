"""Looks at a page of `selfie report` in Chromium, and photographs it.

    python testdata/report_check.py REPORT.html PICTURES

At the width of a desk and of a phone, light and dark: nothing is logged, nothing is requested, nothing is wider than the
screen, no picture is broken, no two words of a chart overlap or are cut off, every word has contrast, every chart's values
show under the pointer. Writes PICTURES/desk-light.png and so on, to be looked at. Needs playwright (PyPI) and a Chromium in PATH. Not
part of CI, whose own look at the page is `tests/e2e/study.rs`.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
# WCAG 2, level AA for small text.
CONTRAST = 4.5

# What only a browser knows of the page; returns a list of complaints.
LOOK = """
(contrast) => {
  const complaints = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) complaints.push(`${root.scrollWidth} px wide on a screen of ${root.clientWidth}`);
  for (const image of document.images) if (!image.naturalWidth) complaints.push(`broken picture ${image.alt}`);

  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([words, box], i) => {
      const where = `"${words}" of chart "${svg.getAttribute("aria-label")}"`;
      if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5)
        complaints.push(`${where} is cut off`);
      if (box.height < 8) complaints.push(`${where} is ${box.height.toFixed(1)} px high`);
      for (const [other, otherBox] of texts.slice(i + 1)) if (over(box, otherBox)) complaints.push(`${where} lies on "${other}"`);
    });
  }

  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = rgb(colour).slice(0, 3).map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return getComputedStyle(at).backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const seen = new Set();
  for (const element of document.body.querySelectorAll("h1, h2, h3, p, th, td, li, summary, figcaption, text")) {
    if (!element.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(element.tagName === "text" ? style.fill : style.color), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = `${element.tagName} ${element.className.baseVal ?? element.className}`;
    if (ratio < contrast && !seen.has(key)) complaints.push(`${key} has a contrast of ${ratio.toFixed(1)}`);
    seen.add(key);
  }
  return complaints;
}
"""


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
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    complaints += page.evaluate(LOOK, CONTRAST)
    complaints += hover(page)
    return complaints


def hover(page):
    """Every chart shows a step and a value for each of its labels under the pointer."""
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
