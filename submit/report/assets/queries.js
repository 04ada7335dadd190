// The browser of queries: sorted, filtered, and only the lines in view are in the page.
"use strict";
(() => {
  const { make, numbers, load, percent, signed, typing } = report;
  const START = { sort: "", down: "", text: "", only: "", cam: "", domain: "", person: "", q: "" };
  const AROUND = 6; // lines kept beyond the edges
  let index, state, shown, orders, at = 0, listAt = 0;
  const list = document.getElementById("lines");
  const controls = document.getElementById("controls");

  const ONLY = {
    "": () => true,
    wrong: (i) => hit(index.after, i) === 0,
    right: (i) => hit(index.after, i) === 1,
    lost: (i) => hit(index.after, i) === 0 && anyMember(i),
    nobody: (i) => hit(index.after, i) === 0 && !anyMember(i),
    helped: (i) => change(i) > 1e-6,
    hurt: (i) => change(i) < -1e-6,
  };
  const hit = (system, i) => index.hit[system * index.count + i];
  const ap = (system, i) => index.ap[system * index.count + i];
  const change = (i) => ap(index.after, i) - ap(index.before, i);
  const anyMember = (i) => {
    for (let m = 0; m < index.members; m++) if (hit(m, i) === 1) return true;
    return false;
  };
  const SORTS = {
    ap: (i) => (ap(index.after, i) < 0 ? 2 : ap(index.after, i)),
    help: (i) => -change(i),
    hurt: (i) => change(i),
    agree: (i) => index.agreement[i],
    right: (i) => index.rightCount[i],
    name: (i) => i,
  };

  function unpack(raw) {
    index = { ...raw, count: raw.names.length, pictures: document.body.dataset.pictures === "yes" };
    for (const key of ["pids", "cams", "domains", "ap", "hit", "agreement", "top", "rightCount"]) {
      index[key] = numbers(raw[key]);
    }
    index.gallery = { ...raw.gallery };
    for (const key of ["pids", "cams", "place"]) index.gallery[key] = numbers(raw.gallery[key]);
    index.lower = raw.names.map((name) => name.toLowerCase());
    orders = new Map();
    report.index = index;
  }

  // Which mark an answer has: right, wrong, or none where nobody knows.
  function mark(query, row) {
    if (!index.labelled || index.pids[query] < 0) return "unknown";
    return index.pids[query] === index.gallery.pids[row] ? "right" : "wrong";
  }

  function order(sort) {
    if (!orders.has(sort)) {
      const key = Float64Array.from({ length: index.count }, (_, i) => SORTS[sort](i));
      orders.set(sort, Uint32Array.from(key.keys()).sort((a, b) => key[a] - key[b] || a - b));
    }
    return orders.get(sort);
  }

  const firstSort = () => (index.labelled ? "ap" : index.members > 1 ? "agree" : "name");

  function choose() {
    const begun = performance.now();
    const sorted = order(SORTS[state.sort] ? state.sort : firstSort());
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const only = ONLY[state.only] ?? ONLY[""];
    const kept = [];
    for (const i of state.down ? Array.from(sorted).reverse() : sorted) {
      if (state.cam !== "" && index.cams[i] !== Number(state.cam)) continue;
      if (state.domain !== "" && index.domains[i] !== Number(state.domain)) continue;
      if (state.person !== "" && report.person(index, index.pids[i]) !== state.person.trim()) continue;
      if (words.length && !words.every((w) => index.lower[i].includes(w))) continue;
      if (only(i)) kept.push(i);
    }
    shown = kept;
    document.body.dataset.filterMs = (performance.now() - begun).toFixed(1);
  }

  const clean = (changes = {}) => {
    const next = Object.entries({ ...state, ...changes }).filter(([, value]) => value !== "" && value !== null);
    return `#${new URLSearchParams(next)}`;
  };

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const find = given.get("find");
    state = Object.fromEntries(Object.keys(START).map((key) => [key, given.get(key) ?? ""]));
    for (const [key, value] of Object.entries(state)) {
      const field = controls.elements[key];
      if (field && field.value !== value) field.value = key === "sort" && !value ? firstSort() : value;
    }
    document.getElementById("down").setAttribute("aria-pressed", state.down ? "true" : "false");
    if (find) controls.elements.text.focus();
  }

  function show() {
    read();
    choose();
    const query = state.q === "" ? -1 : Number(state.q);
    const open = Number.isInteger(query) && query >= 0 && query < index.count;
    document.body.classList.toggle("one", open);
    document.getElementById("count").textContent =
      shown.length === index.count
        ? `${index.count.toLocaleString("en")} queries`
        : `${shown.length.toLocaleString("en")} of ${index.count.toLocaleString("en")} queries`;
    document.getElementById("none").hidden = shown.length > 0;
    if (open) {
      at = shown.indexOf(query);
      report.query.show(query, { place: at, of: shown.length, before: shown[at - 1], after: shown[at + 1], link: clean });
    } else {
      report.query.hide();
      at = Math.max(0, Math.min(at, shown.length - 1));
      list.replaceChildren();
      draw();
    }
  }

  const height = () => parseFloat(getComputedStyle(list).getPropertyValue("--line"));

  // Put the lines in view into the page, and take out the others.
  function draw() {
    if (isOpen()) return;
    const line = height();
    list.style.height = `${shown.length * line}px`;
    const top = -list.getBoundingClientRect().top;
    let from = Math.max(0, Math.floor(top / line) - AROUND);
    let to = Math.min(shown.length, Math.ceil((top + innerHeight) / line) + AROUND);
    if (list.dataset.print) [from, to] = [0, Math.min(shown.length, 200)];
    const there = new Map([...list.children].map((child) => [Number(child.dataset.place), child]));
    for (const [place, child] of there) if (place < from || place >= to) child.remove();
    for (let place = from; place < to; place++) {
      if (there.has(place)) continue;
      const row = lineOf(shown[place], place);
      row.style.transform = `translateY(${place * line}px)`;
      list.append(row);
    }
  }

  function lineOf(i, place) {
    const row = make("a", { class: "line", href: clean({ q: i }), "data-place": place, "aria-posinset": place + 1 });
    const facts = [report.who(index, index.pids[i], index.cams[i])].filter(Boolean);
    if (index.domains[i] >= 0) facts.push(index.domainNames[index.domains[i]]);
    row.append(
      make("span", { class: "asked" }, report.thumb(index, "q", i, "")),
      make("span", { class: "who" },
        make("span", { class: "name" }, index.names[i]),
        make("span", { class: "facts" }, facts.join(" · "))),
      scoreOf(i),
      make("span", { class: "answers" }, ...answers(i)));
    return row;
  }

  function scoreOf(i) {
    if (!index.labelled) {
      return make("span", { class: "score" },
        make("span", { class: "value" }, percent(index.agreement[i])), make("span", { class: "unit" }, "agreement"));
    }
    const after = ap(index.after, i);
    const parts = [make("span", { class: "value" }, percent(after)), make("span", { class: "unit" }, "AP")];
    if (index.before !== index.after && after >= 0) {
      const by = change(i);
      const kind = Math.abs(by) < 0.0005 ? "same" : by > 0 ? "up" : "down";
      parts.push(make("span", { class: `change ${kind}`, title: "change by re-ranking" }, signed(by)));
    }
    parts.push(make("span", { class: "bar", style: { "--ap": Math.max(0, after), "--was": Math.max(0, ap(index.before, i)) } }));
    return make("span", { class: "score" }, ...parts);
  }

  function answers(i) {
    const made = [];
    for (let k = 0; k < index.strip; k++) {
      const row = index.top[i * index.strip + k];
      if (row < 0) continue;
      const kind = mark(i, row);
      made.push(make("span", { class: `answer ${kind}` },
        report.thumb(index, "g", index.gallery.place[row], `answer ${k + 1}${kind === "unknown" ? "" : `, ${kind}`}`)));
    }
    return made;
  }

  // Bring a line into view and give it the focus.
  function step(by) {
    if (!shown.length) return;
    const here = document.activeElement?.dataset?.place;
    at = here === undefined ? (by > 0 ? at : Math.max(0, at)) : Number(here) + by;
    at = Math.max(0, Math.min(shown.length - 1, at));
    const line = height();
    const top = list.getBoundingClientRect().top + scrollY + at * line;
    const head = document.getElementById("toolbar").getBoundingClientRect().bottom;
    if (top < scrollY + head) scrollTo(0, top - head - 4);
    else if (top + line > scrollY + innerHeight) scrollTo(0, top + line - innerHeight + 4);
    draw();
    list.querySelector(`[data-place="${at}"]`)?.focus({ preventScroll: true });
  }

  const go = (changes) => (location.hash = clean(changes));
  const isOpen = () => document.body.classList.contains("one");

  // Another state by a link, a key or the browser's own way back: the list is found where it was left.
  function moved() {
    const was = isOpen();
    const keep = listAt;
    show();
    if (isOpen()) scrollTo(0, 0);
    else if (was) {
      scrollTo(0, keep);
      draw();
      list.querySelector(`[data-place="${at}"]`)?.focus({ preventScroll: true });
    }
  }

  function keys(event) {
    if (document.getElementById("keys").open) return;
    const open = isOpen();
    if (event.key === "Escape") {
      if (open) go({ q: "" });
      else document.activeElement?.blur();
    } else if (event.target.id === "text" && event.key === "ArrowDown") {
      event.preventDefault();
      at = 0;
      event.target.blur();
      step(1);
    } else if (!typing(event)) {
      const next = { ArrowRight: 1, ArrowLeft: -1, j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!next) return;
      if (open && event.key !== "ArrowDown" && event.key !== "ArrowUp") {
        if (shown[at + next] !== undefined) go({ q: shown[at + next] });
      } else if (!open && event.key !== "ArrowRight" && event.key !== "ArrowLeft") {
        event.preventDefault();
        step(next);
      }
    }
  }

  function change_(event) {
    const field = event.target;
    if (!(field.name in START)) return;
    state[field.name] = field.name === "sort" && field.value === firstSort() ? "" : field.value;
    at = 0;
    history.replaceState(null, "", clean({ q: "" }));
    show();
  }

  function begin(raw) {
    unpack(raw);
    controls.addEventListener("input", change_);
    controls.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("down").addEventListener("click", () => {
      state.down = state.down ? "" : "1";
      history.replaceState(null, "", clean());
      show();
    });
    document.getElementById("clear").addEventListener("click", () => {
      controls.reset();
      location.hash = "";
    });
    let drawing = 0;
    const later = () => {
      if (!isOpen()) listAt = scrollY;
      cancelAnimationFrame(drawing);
      drawing = requestAnimationFrame(draw);
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", () => (list.replaceChildren(), later()));
    addEventListener("beforeprint", () => ((list.dataset.print = "1"), draw()));
    addEventListener("afterprint", () => (delete list.dataset.print, draw()));
    document.addEventListener("keydown", keys);
    addEventListener("hashchange", moved);
    report.mark = mark;
    show();
    document.body.dataset.openMs = performance.now().toFixed(0);
    document.body.dataset.ready = "yes";
  }

  load(`${document.body.dataset.trial}/index`).then(begin, (error) => {
    document.getElementById("count").textContent = error.message;
  });
})();
