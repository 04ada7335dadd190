// One query: its first twenty answers, where its right images stand, and what each member made of them.
"use strict";
report.query = (() => {
  const { make, numbers, load, percent, signed } = report;
  const page = document.getElementById("one");
  let wanted = -1;

  const name = (row, names) => names.get(row) ?? "";

  async function show(query, way) {
    wanted = query;
    page.hidden = false;
    const index = report.index;
    const piece = unpacked(await load(`${index.trial}/lists-${pad(query / index.perLists)}`));
    const one = oneOf(index, piece, query);
    const names = await namesOf(index, [...one.top.map((t) => t.row), ...one.right.map((r) => r.row)]);
    if (wanted !== query) return;
    page.replaceChildren(
      head(index, query, way), answers(index, query, one, names), standings(index, query, one), votes(index, query, one, names));
    document.title = `${index.names[query]} · queries`;
    page.dataset.shown = query;
  }

  function hide() {
    wanted = -1;
    page.hidden = true;
    page.replaceChildren();
    delete page.dataset.shown;
    document.title = page.dataset.title;
  }

  const pad = (x) => String(Math.floor(x)).padStart(4, "0");

  function unpacked(piece) {
    if (!piece.ready) {
      for (const key of ["top", "dist", "ranks", "ptr", "right", "rightRanks", "junk"]) piece[key] = numbers(piece[key]);
      piece.ready = true;
    }
    return piece;
  }

  // The part of a piece that is about one query.
  function oneOf(index, piece, query) {
    const i = query % index.perLists;
    const count = piece.junk.length;
    const k = index.k;
    const systems = index.systems.length;
    const nnz = piece.right.length;
    const top = [];
    for (let j = 0; j < k; j++) {
      const row = piece.top[i * k + j];
      if (row < 0) continue;
      const ranks = Array.from({ length: systems }, (_, s) => piece.ranks[(s * count + i) * k + j]);
      top.push({ row, dist: piece.dist[i * k + j], ranks });
    }
    const right = [];
    for (let p = piece.ptr[i]; p < piece.ptr[i + 1]; p++) {
      right.push({ row: piece.right[p], ranks: Array.from({ length: systems }, (_, s) => piece.rightRanks[s * nnz + p]) });
    }
    return { top, right, junk: piece.junk[i] };
  }

  async function namesOf(index, rows) {
    const wantedPieces = [...new Set(rows.map((row) => Math.floor(row / index.perNames)))];
    const pieces = await Promise.all(wantedPieces.map((p) => load(`${index.trial}/names-${pad(p)}`)));
    const at = new Map(wantedPieces.map((p, i) => [p, pieces[i]]));
    return new Map(rows.map((row) => [row, at.get(Math.floor(row / index.perNames))[row % index.perNames]]));
  }

  function head(index, query, way) {
    const place = way.place >= 0 ? `${(way.place + 1).toLocaleString("en")} of ${way.of.toLocaleString("en")}` : "not in the filter";
    const arrow = (to, words, sign) =>
      to === undefined
        ? make("span", { class: "button off", "aria-hidden": "true" }, sign)
        : make("a", { class: "button", href: way.link({ q: to }), "aria-label": words, title: words }, sign);
    const facts = make("dl", { class: "facts" });
    const fact = (term, value) => facts.append(make("div", {}, make("dt", {}, term), make("dd", {}, value)));
    if (index.pids[query] >= 0) fact("person", report.person(index, index.pids[query]));
    if (index.cams[query] >= 0) fact("camera", report.camera(index, index.cams[query]));
    if (index.domains[query] >= 0) fact("domain", index.domainNames[index.domains[query]]);
    if (index.labelled) {
      const after = index.ap[index.after * index.count + query];
      const before = index.ap[index.before * index.count + query];
      fact("average precision", percent(after));
      if (index.before !== index.after && after >= 0) fact("change by re-ranking", signed(after - before));
      fact("right images", String(index.rightCount[query]));
    }
    if (index.members > 1) fact("members agree", `${(100 * index.agreement[query]).toFixed(0)} %`);
    return make("div", { class: "queryhead" },
      make("nav", { class: "way", "aria-label": "queries" },
        make("a", { class: "button wide", href: way.link({ q: "" }) }, "‹ all queries"),
        make("span", { class: "place" }, place),
        arrow(way.before, "previous query", "←"), arrow(way.after, "next query", "→")),
      make("div", { class: "subject" },
        make("div", { class: "portrait" }, report.thumb(index, "q", query, `query ${index.names[query]}`)),
        make("div", {}, make("h1", { class: "filename" }, index.names[query]), facts)));
  }

  function answers(index, query, one, names) {
    const cards = one.top.map((t, j) => {
      const kind = report.mark(query, t.row);
      const said = kind === "unknown" ? "" : kind;
      const words = `${j + 1}: ${name(t.row, names)}, ${report.who(index, index.gallery.pids[t.row], index.gallery.cams[t.row])}${said && `, ${said}`}`;
      return make("li", { class: `card ${kind}` },
        make("span", { class: "frame" },
          report.thumb(index, "g", index.gallery.place[t.row], words),
          make("span", { class: "mark", "aria-hidden": "true" }, { right: "✓", wrong: "✕", unknown: "" }[kind])),
        make("span", { class: "under" },
          make("span", { class: "rank" }, String(j + 1)), make("span", { class: "dist" }, t.dist.toFixed(3))),
        make("span", { class: "cardname", title: name(t.row, names) }, name(t.row, names)));
    });
    const left = one.junk ? ` ${one.junk} of the same person by the same camera left out, as the rules say.` : "";
    return make("section", {},
      make("h2", {}, `First ${one.top.length} answers`),
      make("p", { class: "note" }, `By ${index.systems[index.after]}; the number under each is its distance.${left}`),
      make("ol", { class: "cards" }, ...cards));
  }

  // A line a system: the right images along a logarithmic axis of ranks.
  function standings(index, query, one) {
    if (!index.labelled) return "";
    if (!one.right.length) {
      return make("section", {}, make("h2", {}, "Right images"), make("p", { class: "note" }, "The gallery holds none for this query."));
    }
    const G = index.gallery.count;
    const far = Math.log10(Math.max(10, G));
    const x = (rank) => `${(100 * Math.log10(rank)) / far}%`;
    const scale = [1, 10, 100, 1000, 10000, 100000].filter((r) => r <= G);
    const rows = index.systems.map((system, s) => {
      const ranks = one.right.map((r) => r.ranks[s]).sort((a, b) => a - b);
      const ticks = ranks.map((rank) => make("i", { style: { left: x(rank) }, class: rank <= 20 ? "near" : "", title: `rank ${rank}` }));
      const words = `right images at ranks ${ranks.slice(0, 12).join(", ")}${ranks.length > 12 ? ", …" : ""}`;
      return make("div", { class: `stand${s === index.after ? " last" : ""}` },
        make("span", { class: "system" }, system),
        make("span", { class: "axis", role: "img", "aria-label": words }, ...ticks),
        make("span", { class: "first" }, `first ${ranks[0].toLocaleString("en")}`),
        make("span", { class: "apvalue" }, percent(index.ap[s * index.count + query])));
    });
    const axis = make("div", { class: "stand scale", "aria-hidden": "true" }, make("span", { class: "system" }, "rank"),
      make("span", { class: "axis" }, ...scale.map((r) => make("b", { style: { left: x(r) } }, r.toLocaleString("en")))),
      make("span", { class: "first" }), make("span", { class: "apvalue" }, "AP"));
    return make("section", {}, make("h2", {}, "Where the right images stand"),
      make("p", { class: "note" }, "A tick is a right image; further left is better. The scale is logarithmic."),
      make("div", { class: "stands" }, ...rows, axis));
  }

  // A table of images by systems: the rank each gave.
  function votes(index, query, one, names) {
    const followed = one.right.map((r) => r.row);
    const listed = new Set(one.top.map((t) => t.row));
    const rest = one.right.filter((r) => !listed.has(r.row));
    const table = (rows) => {
      const body = rows.map((r) => {
        const kind = report.mark(query, r.row);
        return make("tr", {},
          make("th", { scope: "row" }, make("span", { class: "named" }, make("span", { class: `answer ${kind}` },
            report.thumb(index, "g", index.gallery.place[r.row], `${name(r.row, names)}${kind === "unknown" ? "" : `, ${kind}`}`)),
            make("span", { class: "cardname", title: name(r.row, names) }, name(r.row, names)))),
          ...r.ranks.map((rank, s) => make("td", { class: `${rank <= 10 ? "top10" : rank <= 50 ? "top50" : "far"}${s === index.after ? " last" : ""}` }, rank.toLocaleString("en"))));
      });
      return make("div", { class: "scroll" }, make("table", { class: "votes" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "image"),
          ...index.systems.map((s, i) => make("th", { scope: "col", class: i === index.after ? "last" : "" }, s)))),
        make("tbody", {}, ...body)));
    };
    const section = make("section", {}, make("h2", {}, "Ranks each gave"),
      make("p", { class: "note" }, "The first answers, and the rank at which each member alone has them."), table(one.top));
    if (rest.length) {
      section.append(make("h3", {}, `Right images past the first ${one.top.length}`), table(rest));
    }
    section.dataset.followed = followed.length;
    return section;
  }

  return { show, hide };
})();
