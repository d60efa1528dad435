// What only a browser knows of a page of `selfie report`: a list of complaints. For tests/e2e/page.rs and report_check.py.
() => {
  // WCAG 2, level AA for small text.
  const CONTRAST = 4.5;
  const complaints = [];
  const root = document.documentElement;
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  if (root.scrollWidth > root.clientWidth) complaints.push(`${root.scrollWidth} px wide on a screen of ${root.clientWidth}`);
  for (const image of document.images) if (!image.naturalWidth) complaints.push(`broken picture ${image.alt}`);
  // A phone shows these tables as lists, which nobody scrolls sideways.
  const beside = [...document.querySelectorAll("table.cards td")].filter((cell) => cell.getBoundingClientRect().right > innerWidth);
  if (innerWidth <= 640 && beside.length) complaints.push(`${beside.length} figures beside the screen, such as "${beside[0].textContent}"`);
  // At a desk no row of charts ends half empty.
  for (const charts of document.querySelectorAll(".charts")) {
    const last = charts.lastElementChild;
    if (!last || innerWidth <= 1100 || charts.children.length < 2) continue;
    const empty = charts.getBoundingClientRect().right - last.getBoundingClientRect().right;
    if (empty > 2) complaints.push(`${empty} px are empty beside "${last.querySelector("figcaption").textContent}"`);
  }
  // A word of a command breaks only where it has a line of its own.
  for (const word of document.querySelectorAll("code span")) {
    const [box, around] = [word.getBoundingClientRect(), word.parentElement.getBoundingClientRect()];
    if (box.height > 40 && box.width < around.width - 2) complaints.push(`"${word.textContent}" of a command is broken`);
  }

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

  const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
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
  // Of what a reader asked for: dark ground, light words, or the reverse.
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const [under, words] = [luminance(ground(document.body)), luminance(getComputedStyle(document.body).color)];
  if (dark !== under < words) complaints.push(`the ground is ${ground(document.body)} where ${dark ? "dark" : "light"} was asked for`);
  const seen = new Set();
  for (const element of document.body.querySelectorAll("h1, h2, h3, p, th, td, li, summary, figcaption, text")) {
    if (!element.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(element.tagName === "text" ? style.fill : style.color), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = `${element.tagName} ${element.className.baseVal ?? element.className}`;
    if (ratio < CONTRAST && !seen.has(key)) complaints.push(`${key} has a contrast of ${ratio.toFixed(1)}`);
    seen.add(key);
  }

  const tooltip = document.getElementById("tooltip");
  for (const svg of document.querySelectorAll("figure.chart svg")) {
    svg.scrollIntoView({ block: "center" });
    const box = svg.getBoundingClientRect();
    svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 }));
    const [shown, place] = [tooltip.textContent, tooltip.getBoundingClientRect()];
    const chart = `chart "${svg.getAttribute("aria-label")}"`;
    if (!shown.startsWith("step ") || !shown.includes(":")) complaints.push(`${chart} shows "${shown}" under the pointer`);
    if (place.left < 0 || place.right > innerWidth || place.top < 0 || place.bottom > innerHeight)
      complaints.push(`the values of ${chart} leave the screen`);
    svg.dispatchEvent(new PointerEvent("pointerleave"));
    if (!tooltip.hidden) complaints.push(`the values of ${chart} stay when the pointer has gone`);
  }
  return complaints;
}
