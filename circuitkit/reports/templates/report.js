"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);

  async function load(id) {
    const packed = document.getElementById(id).textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  // Figures name colours of the style sheet, so that both themes are defined in one place.
  function themed(value, style) {
    if (typeof value === "string") {
      return value.startsWith("var(") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
    }
    return value;
  }

  function drawFigures() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const rule = style.getPropertyValue("--rule").trim();
    const paper = style.getPropertyValue("--paper").trim();
    for (const figure of data.figures) {
      const layout = themed(figure.layout, style);
      for (const [key, axis] of Object.entries(layout)) {
        if (/^[xy]axis/.test(key)) {
          Object.assign(axis, { gridcolor: rule, zeroline: false });
          axis.title.font = { size: 13 };
        }
      }
      Object.assign(layout, {
        autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: style.getPropertyValue("--sans").trim(), size: 13, color: ink },
        hoverlabel: { bgcolor: paper, bordercolor: ink, font: { color: ink, size: 13 }, align: "left" },
      });
      const holder = document.getElementById(figure.id);
      const fallback = holder.querySelector(".fallback");
      if (fallback) fallback.remove();
      Plotly.react(holder, themed(figure.data, style), layout, { displayModeBar: false, responsive: true });
      holder.dataset.drawn = "true";
    }
  }

  // Chart.js leaves out labels that have no line of their own: room for one a token, and for the longest beside them.
  const TICK = 18, AROUND = 70, LETTER = 6.5;
  const drawnSize = (tokens) => TICK * tokens.length + AROUND + LETTER * Math.max(...tokens.map((t) => t.length + 5));

  const SIDES = [["teacher", "Teacher "], ["student", "Student "], ["model", ""]];

  function drawHeads(holder, example, choice) {
    const sides = document.createElement("div");
    sides.className = "heads";
    const shown = SIDES.filter(([who]) => example[who]);
    for (const [who, name] of shown) {
      const side = example[who];
      const column = document.createElement("div");
      column.style.setProperty("--drawn", `${Math.round(drawnSize(side.tokens))}px`);
      const title = document.createElement("h4");
      title.textContent = `${name}${side.heads[choice]}${side.notes ? `: ${side.notes[choice]}` : ""}`;
      const sheet = document.createElement("div");
      sheet.className = "sheet";
      sheet.id = `attention-${example.index}-${who}-${choice}`;
      sheet.setAttribute("role", "img");
      sheet.setAttribute("aria-label", `Attention pattern of the ${who}'s head ${side.heads[choice]}`);
      column.append(title, sheet);
      sides.append(column);
    }
    holder.replaceChildren(sides);
    for (const [who] of shown) {
      const side = example[who];
      CircuitsVis.render(`attention-${example.index}-${who}-${choice}`, CircuitsVis.AttentionPattern, {
        tokens: side.tokens, attention: side.patterns[choice], minValue: -1, maxValue: 1,
        maskUpperTri: side.causal, positiveColor: "#0c2f6b", upperTriColor: "rgb(238,236,230)", zoomed: false,
      });
    }
    holder.dataset.drawn = "true";
  }

  function drawAttention() {
    for (const example of data.attention) {
      const holder = document.querySelector(`[data-example="${example.index}"]`);
      const choices = document.createElement("div");
      choices.className = "choices";
      choices.setAttribute("role", "group");
      const heads = SIDES.flatMap(([who]) => example[who] ? [example[who].heads] : []);
      choices.setAttribute("aria-label", heads.length > 1 ? "Matched heads" : "Heads");
      const frame = document.createElement("div");
      heads[0].forEach((_, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = heads.map((names) => names[index]).join(" – ");
        button.setAttribute("aria-pressed", String(index === 0));
        button.addEventListener("click", () => {
          for (const other of choices.children) other.setAttribute("aria-pressed", String(other === button));
          drawHeads(frame, example, index);
        });
        choices.append(button);
      });
      holder.replaceChildren(choices, frame);
      drawHeads(frame, example, 0);
    }
  }

  const number = (cell) => {
    const value = parseFloat(cell.textContent.replace("\u2212", "-").replace(/\u202f/g, ""));
    return Number.isNaN(value) ? -Infinity : value;
  };

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const kind = head.dataset.sort || "number";
      if (kind === "none") return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === (kind === "number" ? "none" : "ascending")
          || (kind === "number" && head.getAttribute("aria-sort") === "ascending");
        for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const compare = kind === "number"
          ? (a, b) => number(a.cells[column]) - number(b.cells[column])
          : (a, b) => a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
        const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? -1 : 1) * compare(a, b));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function filterable(input) {
    const id = input.dataset.filter;
    const rows = [...document.getElementById(id).tBodies[0].rows];
    const kind = document.querySelector(`[data-kind="${id}"]`);
    const count = document.querySelector(`[data-count="${id}"]`);
    const apply = () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const [teacher, student] = [row.cells[0].textContent.trim(), row.cells[1].textContent.trim()];
        const keep = `${teacher} ${student}`.toLowerCase().includes(wanted)
          && (!kind.value || (kind.value === "MLP") === teacher.startsWith("MLP"));
        row.hidden = !keep;
        shown += keep;
      }
      count.textContent = shown === rows.length ? `${shown} pairs` : `${shown} of ${rows.length} pairs`;
    };
    input.addEventListener("input", apply);
    kind.addEventListener("change", apply);
  }

  function copyable(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
  }

  // Pointing at a part of a circuit dims what it is not joined to and writes out its numbers.
  function explorable(drawing) {
    const readout = document.querySelector(`[data-readout="${drawing.id}"]`);
    const invitation = readout.textContent;
    const nodes = [...drawing.querySelectorAll("[data-node]")];
    const edges = [...drawing.querySelectorAll("[data-from]")];
    readout.hidden = false;
    const show = (parts, text) => {
      for (const part of [...nodes, ...edges]) part.classList.toggle("lit", parts.has(part));
      drawing.classList.toggle("focused", parts.size > 0);
      readout.textContent = text;
    };
    const clear = () => show(new Set(), invitation);
    const title = (part) => part.querySelector("title").textContent;
    const node = (part) => {
      const joined = edges.filter((e) => [e.dataset.from, e.dataset.to].includes(part.dataset.node));
      const names = new Set(joined.flatMap((e) => [e.dataset.from, e.dataset.to]));
      const ends = nodes.filter((n) => names.has(n.dataset.node));
      show(new Set([part, ...joined, ...ends]), title(part));
    };
    const edge = (part) => {
      const ends = nodes.filter((n) => [part.dataset.from, part.dataset.to].includes(n.dataset.node));
      show(new Set([part, ...ends]), title(part));
    };
    nodes.forEach((part, index) => {
      part.setAttribute("tabindex", index === 0 ? "0" : "-1");
      part.addEventListener("pointerenter", () => node(part));
      part.addEventListener("pointerleave", clear);
      part.addEventListener("focus", () => node(part));
      part.addEventListener("blur", clear);
      part.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const next = step && nodes[index + step];
        if (!next) return;
        event.preventDefault();
        part.setAttribute("tabindex", "-1");
        next.setAttribute("tabindex", "0");
        next.focus();
      });
    });
    for (const part of edges) {
      const hit = part.cloneNode(true);  // thin lines are hard to point at
      hit.removeAttribute("opacity");
      hit.setAttribute("class", "hit");
      hit.addEventListener("pointerenter", () => edge(part));
      hit.addEventListener("pointerleave", clear);
      part.parentNode.append(hit);
    }
  }

  document.querySelectorAll("svg.circuit").forEach(explorable);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("[data-filter]").forEach(filterable);
  document.querySelectorAll("[data-copy]").forEach(copyable);

  if (data.figures.length) load("packed-plotly").then(() => {
    drawFigures();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawFigures);
    addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; drawFigures(); });
    addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; drawFigures(); });
  });
  if (data.attention.length) load("packed-circuitsvis").then(drawAttention);
})();
