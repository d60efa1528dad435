"use strict";
// Shows the values under the pointer. Every label goes in as text, never as HTML.
(() => {
  const tooltip = document.getElementById("tooltip");
  const shown = (value) => (Math.abs(value) >= 1e-3 || value === 0 ? String(Number(value.toPrecision(4))) : value.toExponential(2));

  // The index of the step nearest to `step`; `steps` ascend.
  const nearest = (steps, step) => {
    let [low, high] = [0, steps.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1;
      else high = middle;
    }
    return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
  };

  // The value of the point that a line's steps around `step` were drawn as; none before the line begins, after it ends and
  // between rare steps.
  const valueAt = (line, step) => {
    const idx = line.steps.findIndex((last) => last >= step);
    return idx >= 0 && line.firsts[idx] <= step ? line.values[idx] : undefined;
  };

  const fill = (chart, step) => {
    const list = document.createElement("ul");
    const there = chart.lines.map((line) => [line, valueAt(line, step)]).filter(([, value]) => value !== undefined);
    // Runs that are drawn alike would be alike in a list too: a few are enough.
    for (const [line, value] of there.slice(0, 12)) {
      const item = document.createElement("li");
      item.className = `c${line.colour}`;
      item.textContent = `${line.label}: ${shown(value)}`;
      list.append(item);
    }
    const head = document.createElement("div");
    head.textContent = `step ${step}`;
    tooltip.replaceChildren(head, list);
  };

  const place = (event) => {
    const [width, height] = [tooltip.offsetWidth, tooltip.offsetHeight];
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
    const top = event.clientY + 14 + height > innerHeight ? event.clientY - 14 - height : event.clientY + 14;
    tooltip.style.left = `${Math.max(4, left)}px`;
    tooltip.style.top = `${Math.max(4, top)}px`;
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const chart = JSON.parse(figure.dataset.chart);
    const svg = figure.querySelector("svg");
    const pointer = figure.querySelector(".pointer");
    const steps = [...new Set(chart.lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
    const move = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.width;
      const share = Math.min(1, Math.max(0, (x - chart.left) / (chart.right - chart.left)));
      const wanted = chart.low + share * (chart.high - chart.low);
      const step = steps[nearest(steps, wanted)];
      const at = chart.left + ((step - chart.low) / (chart.high - chart.low)) * (chart.right - chart.left);
      pointer.setAttribute("x1", at);
      pointer.setAttribute("x2", at);
      pointer.setAttribute("visibility", "visible");
      tooltip.hidden = false;
      fill(chart, step);
      place(event);
    };
    const leave = () => {
      tooltip.hidden = true;
      pointer.setAttribute("visibility", "hidden");
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", leave);
  }
})();
