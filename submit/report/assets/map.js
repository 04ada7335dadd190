// All images by their features: a canvas, one picture at a time beside the pointer.
"use strict";
(() => {
  const { make, numbers, load } = report;
  const canvas = document.getElementById("map");
  const tip = document.getElementById("tip");
  const colourBy = document.getElementById("colour");
  const MARGIN = 18;
  let index, xy, pids, cams, asked, at = -1;

  const side = (i) => (i < index.count ? "q" : "g");
  const row = (i) => (i < index.count ? i : i - index.count);
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const ink = (name) => {
    const probe = make("span", { style: { color: `var(${name})` } });
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  };

  function colours() {
    const light = dark() ? 0.74 : 0.58;
    const quiet = ink("--rule");
    const paint = Array.from({ length: 8 }, (_, i) => ink(`--m${i}`));
    return {
      person: (i) => (asked.has(pids[i]) ? `oklch(${light} 0.13 ${(pids[i] * 137.508) % 360})` : quiet),
      camera: (i) => (cams[i] < 0 ? quiet : paint[cams[i] % 8]),
      side: (i) => paint[side(i) === "q" ? 1 : 0],
    }[colourBy.value];
  }

  const place = (i, width, height) => [
    MARGIN + xy[2 * i] * (width - 2 * MARGIN),
    MARGIN + xy[2 * i + 1] * (height - 2 * MARGIN),
  ];

  function draw() {
    const { width, height } = canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colour = colours();
    const ring = ink("--ink");
    const size = pids.length > 5000 ? 1.8 : pids.length > 1200 ? 2.6 : 4;
    const same = at >= 0 && pids[at] >= 0 && asked.has(pids[at]);
    for (let i = pids.length - 1; i >= 0; i--) {
      const [x, y] = place(i, width, height);
      const bright = !same || pids[i] === pids[at];
      pen.globalAlpha = bright ? 0.88 : 0.12;
      pen.beginPath();
      pen.arc(x, y, bright && same ? size + 1.5 : size, 0, 7);
      pen.fillStyle = colour(i);
      pen.fill();
      if (side(i) === "q") {
        pen.lineWidth = 1.2;
        pen.strokeStyle = ring;
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    let best = -1, least = 14 * 14;
    for (let i = 0; i < pids.length; i++) {
      const [x, y] = place(i, box.width, box.height);
      const d = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (d < least) [best, least] = [i, d];
    }
    return best;
  }

  async function point(event) {
    const found = nearest(event);
    if (found === at) return;
    at = found;
    canvas.style.cursor = at >= 0 && side(at) === "q" ? "pointer" : "";
    draw();
    tip.hidden = at < 0;
    if (at < 0) return;
    const i = at;
    const name = side(i) === "q" ? index.names[row(i)] : await nameOf(row(i));
    if (at !== i) return;
    const box = canvas.getBoundingClientRect();
    const [x, y] = place(i, box.width, box.height);
    const facts = [side(i) === "q" ? "query" : "gallery", report.who(index, pids[i], cams[i])];
    const where = side(i) === "q" ? row(i) : index.gallery.place[row(i)];
    tip.replaceChildren(report.thumb(index, side(i), where, ""), make("b", {}, name), make("br"), facts.filter(Boolean).join(" · "));
    tip.style.left = `${Math.min(box.width - 140, Math.max(0, x + 14))}px`;
    tip.style.top = `${Math.max(0, Math.min(box.height - 210, y - 60))}px`;
  }

  async function nameOf(r) {
    const piece = await load(`${index.trial}/names-${String(Math.floor(r / index.perNames)).padStart(4, "0")}`);
    return piece[r % index.perNames];
  }

  function begin([raw, map]) {
    index = { ...raw, count: raw.names.length, pictures: document.body.dataset.pictures === "yes" };
    index.gallery = { ...raw.gallery, place: numbers(raw.gallery.place) };
    xy = numbers(map.places);
    pids = Int32Array.from([...numbers(raw.pids), ...numbers(raw.gallery.pids)]);
    cams = Int32Array.from([...numbers(raw.cams), ...numbers(raw.gallery.cams)]);
    asked = new Set(numbers(raw.pids));
    draw();
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", () => ((at = -1), (tip.hidden = true), draw()));
    canvas.addEventListener("click", (event) => {
      const i = nearest(event);
      if (i >= 0 && side(i) === "q") location.href = `${document.body.dataset.page}#q=${row(i)}`;
    });
    colourBy.addEventListener("input", draw);
    addEventListener("resize", draw);
    new MutationObserver(draw).observe(document.documentElement, { attributes: true });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    document.body.dataset.ready = "yes";
  }

  const trial = document.body.dataset.trial;
  Promise.all([load(`${trial}/index`), load(`${trial}/map`)]).then(begin);
})();
