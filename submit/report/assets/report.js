// What every page shares: pieces of data loaded as scripts, thumbnails, the theme, copying, the list of keys.
"use strict";
window.report = (() => {
  const kept = new Map();
  const waiting = new Map();

  // A data file calls this with what it holds.
  function put(name, value) {
    kept.set(name, value);
    waiting.get(name)?.keep(value);
    waiting.delete(name);
  }

  // The value of one data file, loaded at its first asking. A page from disk may not fetch, but may load a script.
  function load(name) {
    if (kept.has(name)) return Promise.resolve(kept.get(name));
    if (waiting.has(name)) return waiting.get(name).promise;
    const task = {};
    task.promise = new Promise((keep, fail) => {
      task.keep = keep;
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = () => script.remove();
      script.onerror = () => fail(new Error(`data/${name}.js is missing: make the report again`));
      document.head.append(script);
    });
    waiting.set(name, task);
    return task.promise;
  }

  const KINDS = { f4: Float32Array, i4: Int32Array, i2: Int16Array, u2: Uint16Array, u1: Uint8Array, i1: Int8Array };

  // The numbers of a packed array.
  function numbers(packed) {
    const text = atob(packed.d);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new KINDS[packed.t](bytes.buffer);
  }

  // An element with attributes and children; text stays text.
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") element.className = value;
      else if (key === "style") for (const [name, v] of Object.entries(value)) element.style.setProperty(name, v);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
    return element;
  }

  // A thumbnail off its sheet: side "q" or "g", and the place on the sheets.
  function thumb(index, side, place, words) {
    const { columns, per } = index.tiles;
    const [width, height] = index.tiles[side];
    const at = place % per;
    const file = `${index.folder}/${side}-${String(Math.floor(place / per)).padStart(4, "0")}.webp`;
    const element = make("span", { class: "thumb", role: "img", "aria-label": words, title: words });
    element.style.aspectRatio = `${width} / ${height}`;
    element.style.backgroundImage = index.pictures ? `url("${file}")` : "";
    element.style.backgroundPosition =
      `${((at % columns) * 100) / (columns - 1)}% ${(Math.floor(at / columns) * 100) / (per / columns - 1)}%`;
    return element;
  }

  // What the data set calls an identity or a camera.
  const person = (index, pid) => index.persons[pid] ?? String(pid);
  const camera = (index, cam) => index.cameras[cam] ?? String(cam);
  const who = (index, pid, cam) =>
    [pid >= 0 && `person ${person(index, pid)}`, cam >= 0 && `camera ${camera(index, cam)}`].filter(Boolean).join(" · ");

  const percent = (x) => (x < 0 || Number.isNaN(x) ? "–" : (100 * x).toFixed(1));
  const signed = (x) => (Math.abs(x) < 0.0005 ? "0.0" : `${x > 0 ? "+" : "−"}${Math.abs(100 * x).toFixed(1)}`);

  function toggleTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("report-theme", root.dataset.theme);
    } catch (refused) {
      // for this page only, then
    }
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch (refused) {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    const said = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = said), 1500);
  }

  function typing(event) {
    return event.target.matches?.("input, select, textarea") || event.metaKey || event.ctrlKey || event.altKey;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("[data-theme-toggle]")?.addEventListener("click", toggleTheme);
    document.querySelectorAll("[data-copy]").forEach((b) => b.addEventListener("click", () => copy(b)));
    const keys = document.getElementById("keys");
    document.querySelector("[data-keys]")?.addEventListener("click", () => keys.showModal());
    document.addEventListener("keydown", (event) => {
      if (typing(event)) return;
      if (event.key === "?") keys.showModal();
      if (event.key === "t") toggleTheme();
      const search = document.querySelector("[data-search]");
      if (event.key === "/") {
        event.preventDefault();
        if (search && search.offsetParent) search.focus();
        else location.href = `${document.body.dataset.queries}#find=1`;
      }
    });
  });

  return { put, load, numbers, make, thumb, person, camera, who, percent, signed, typing };
})();
