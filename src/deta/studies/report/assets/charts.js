// Charts hold the traces of the cells that are shown, in the colours of the page's style.

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const NARROW = 420; // pixels of a chart below which its names are folded
const FOLDED_LETTERS = 15;
const FOLDED_HEIGHT = 1.4; // times the height
const STATE_WIDTH = 110; // pixels of a tile, names of its row apart, that a state in words needs
const PAPER_WIDTH = 660; // pixels between the margins of a page of paper
let singledOut = null; // names of cells, or null

function styleValue(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function resolveColours(value) {
  if (typeof value === "string") {
    const match = /^var\((--[\w-]+)\)$/.exec(value);
    return match ? styleValue(match[1]) : value;
  }
  if (Array.isArray(value)) return value.map(resolveColours);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolveColours(item)]));
}

// Where there is little room a name continues below itself, and a state beside others is a dot.
function folded(text) {
  return text.replace(/[^_,= ]+[_,= ]*/g, "$&\u200b").split("\u200b").reduce(
    (lines, part) => {
      if ((lines.at(-1) + part).length > FOLDED_LETTERS) lines.push("");
      lines[lines.length - 1] += part;
      return lines;
    },
    [""],
  ).filter(Boolean).join("<br>");
}

function categories(traces, letter) {
  return [...new Set(traces.flatMap((trace) => trace[letter]))];
}

function foldAxis(axis, traces, letter) {
  if (axis.type !== "category") return axis;
  const names = categories(traces, letter);
  return { ...axis, tickmode: "array", tickvals: names, ticktext: names.map(folded), tickfont: { size: 10 } };
}

function folding(layout, traces) {
  const height = layout.height ? FOLDED_HEIGHT * layout.height : undefined;
  return { ...layout, height, yaxis: foldAxis(layout.yaxis, traces, "y") };
}

function shortened(traces, width) {
  const room = width / categories(traces.filter((trace) => trace.type === "heatmap"), "x").length;
  return traces.map((trace) => (trace.mode === "text" && room < STATE_WIDTH ? { ...trace, text: ["·"] } : trace));
}

function visibleTrace(trace) {
  const spec = resolveColours(trace.spec);
  if (trace.grid) {
    const keep = (rows, blank) =>
      rows.map((row, y) => row.map((item, x) => (isShown(trace.grid[y][x]) ? item : blank)));
    return { ...spec, z: keep(spec.z, null), text: keep(spec.text, "") };
  }
  const isFaded = singledOut && !trace.cells.some((cell) => singledOut.has(cell));
  return isFaded ? { ...spec, opacity: 0.15 * (spec.opacity ?? 1) } : spec;
}

function themed(layout) {
  const [ink, line, surface] = ["--ink", "--line", "--surface"].map(styleValue);
  const titled = (axis) => ({ ...axis?.title, standoff: 10 });
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true };
  return {
    ...layout,
    xaxis: { ...axis, ...layout.xaxis, title: titled(layout.xaxis) },
    yaxis: { ...axis, ...layout.yaxis, title: titled(layout.yaxis) },
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
    width: paper.matches ? PAPER_WIDTH : undefined,
    margin: { l: 52, r: 12, t: 26, b: 42 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: ink } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: styleValue("--ink-2"), activecolor: ink },
    showlegend: false,
    uirevision: "kept",
  };
}

class Chart {
  constructor(plot) {
    this.plot = plot;
    this.root = document.getElementById(`plot-${plot.name}`);
    this.chart = this.root.querySelector(".chart");
    this.legend = this.root.querySelector(".legend");
    this.choice = [...plot.views[0].choice];
    this.selects = plot.controls.map((name, place) => this.addSelect(name, place));
    this.fillSelects();
  }

  addSelect(name, place) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.addEventListener("change", () => {
      this.choice[place] = select.value;
      this.fillSelects();
      this.draw();
      writeAddress();
    });
    label.append(name, select);
    this.root.querySelector(".controls").append(label);
    return select;
  }

  // Later choices depend on earlier ones; one that is no longer possible becomes the first that is.
  fillSelects() {
    let views = this.plot.views;
    this.selects.forEach((select, place) => {
      const options = [...new Set(views.map((view) => view.choice[place]))];
      if (!options.includes(this.choice[place])) this.choice[place] = options[0];
      select.replaceChildren(...options.map((option) => new Option(option, option)));
      select.value = this.choice[place];
      select.parentElement.hidden = options.length < 2;
      views = views.filter((view) => view.choice[place] === this.choice[place]);
    });
    this.view = views[0];
  }

  draw() {
    const traces = this.view.traces.filter((trace) => trace.cells.some(isShown));
    const filename = `${data.name}-${this.plot.name}`;
    if (!window.Plotly) return; // until it is unpacked
    const config = { ...CONFIG, toImageButtonOptions: { ...CONFIG.toImageButtonOptions, filename } };
    this.root.querySelector(".nothing").hidden = traces.length > 0;
    this.chart.hidden = traces.length === 0;
    const width = paper.matches ? PAPER_WIDTH : this.chart.clientWidth;
    const specs = shortened(traces.map(visibleTrace), width);
    const layout = width < NARROW ? folding(this.view.layout, specs) : this.view.layout;
    this.chart.style.height = layout.height ? `${layout.height}px` : "";
    Plotly.react(this.chart, specs, themed(layout), config);
    this.drawLegend(traces);
  }

  drawLegend(traces) {
    const named = traces.filter((trace) => trace.label !== null);
    this.legend.replaceChildren(
      ...named.map((trace) => {
        const item = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        button.innerHTML = swatch(trace.spec);
        button.append(trace.label);
        button.setAttribute("aria-pressed", String(singledOut !== null && trace.cells.some((c) => singledOut.has(c))));
        button.addEventListener("click", () => singleOut(trace.cells));
        item.append(button);
        return item;
      }),
    );
  }
}

function swatch(spec) {
  const colour = spec.line?.color ?? spec.marker.color;
  const shapes = {
    circle: '<circle cx="13" cy="6" r="4.5"/>',
    diamond: '<path d="M13 1 18 6 13 11 8 6Z"/>',
    square: '<path d="M9 2h8v8h-8Z"/>',
    "triangle-up": '<path d="M13 1 18 10H8Z"/>',
    x: '<path d="M9 2 17 10M17 2 9 10"/>',
  };
  const [symbol, isOpen] = [(spec.marker?.symbol ?? "").replace("-open", ""), spec.marker?.symbol?.endsWith("-open")];
  const dash = data.dashes[spec.line?.dash] ?? "";
  const line = `<path d="M1 6H25" stroke-width="3" stroke-dasharray="${dash}"/>`;
  const shape = shapes[symbol] ?? line;
  const fill = isOpen || shape === line ? "none" : colour;
  return `<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true" fill="${fill}" stroke="${colour}">${shape}</svg>`;
}

const charts = [];

function drawCharts() {
  for (const chart of charts) chart.draw();
}

// A second click on the same name brings all others back.
function singleOut(cells) {
  const isSame = singledOut !== null && cells.every((cell) => singledOut.has(cell));
  singledOut = isSame ? null : new Set(cells);
  drawCharts();
  writeAddress();
}

kept.push({
  write(params) {
    if (singledOut) params.set("single", [...singledOut].join(","));
    for (const chart of charts) {
      const isFirst = chart.choice.every((option, place) => option === chart.plot.views[0].choice[place]);
      if (!isFirst) for (const option of chart.choice) params.append(`chart.${chart.plot.name}`, option);
    }
  },
  read(params) {
    const named = (params.get("single") ?? "").split(",");
    const single = [...data.cells.keys()].filter((cell) => named.includes(String(cell)));
    singledOut = single.length ? new Set(single) : null;
    for (const chart of charts) {
      const choice = params.getAll(`chart.${chart.plot.name}`);
      chart.choice = chart.plot.views[0].choice.map((first, place) => choice[place] ?? first);
      chart.fillSelects();
    }
  },
});

function startCharts() {
  charts.push(...data.plots.filter((plot) => plot.views.length > 0).map((plot) => new Chart(plot)));
  listeners.push(drawCharts);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  paper.addEventListener("change", () => {
    for (const part of document.querySelectorAll(paper.matches ? "details:not([open])" : "details[data-closed]")) {
      part.open = part.toggleAttribute("data-closed", paper.matches);
    }
    drawCharts();
  });
}
