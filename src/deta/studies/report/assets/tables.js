// Tables sort by a click on a heading, fit their window, and are copied or saved as they are shown.

const tables = [...document.querySelectorAll("table")];
const MEDIA = { csv: "text/csv", md: "text/markdown", tex: "text/x-tex" };
const DIRECTIONS = ["none", "ascending", "descending"]; // in which a heading goes from one to the next

function compareValues(first, second) {
  const [a, b] = [Number(first), Number(second)];
  if (!Number.isNaN(a) && !Number.isNaN(b)) return a - b;
  return first.localeCompare(second, undefined, { numeric: true });
}

// What is absent stays last; without a direction the rows have the order of the page.
function sortTable(table, heading, direction) {
  for (const other of table.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  heading?.setAttribute("aria-sort", direction);
  const column = heading?.cellIndex;
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((first, second) => {
    const inOrder = first.dataset.row - second.dataset.row;
    if (!heading || direction === "none") return inOrder;
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === "") || inOrder;
    return (direction === "ascending" ? 1 : -1) * compareValues(a, b) || inOrder;
  });
  table.tBodies[0].append(...rows);
}

function titleOf(heading) {
  return heading.querySelector("button").textContent;
}

kept.push({
  write(params) {
    for (const table of tables) {
      const heading = table.querySelector('[aria-sort$="ending"]');
      if (heading) params.set(`sort.${table.id}`, `${titleOf(heading)},${heading.getAttribute("aria-sort")}`);
    }
  },
  read(params) {
    for (const table of tables) {
      const [title, direction] = (params.get(`sort.${table.id}`) ?? "").split(/,(?=[a-z]+$)/);
      const heading = [...table.tHead.rows[0].cells].find((cell) => titleOf(cell) === title);
      sortTable(table, heading, DIRECTIONS.includes(direction) ? direction : "none");
    }
  },
});

// No column is cut: a table that is too wide is set tighter, and one that still is becomes a list of cards.
function fitTable(table) {
  const room = table.parentElement;
  table.classList.remove("tight", "stacked");
  if (paper.matches) return; // where every text may break
  for (const name of ["tight", "stacked"]) {
    if (room.scrollWidth <= room.clientWidth) return;
    table.classList.add(name);
  }
}

function shownText(table, ending) {
  const { head, rows, foot } = data.tables[table.id].formats[ending];
  const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => rows[row.dataset.row]);
  return [head, ...shown, foot].join("");
}

function saveText(text, ending, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: MEDIA[ending] }));
  link.download = `${name}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // some browsers read it late
}

// Browsers that keep the clipboard from pages of the disk still copy what is selected.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function startTables() {
  for (const table of tables) {
    [...table.tBodies[0].rows].forEach((row, place) => (row.dataset.row = place));
    for (const heading of table.tHead.rows[0].cells) {
      heading.querySelector("button").addEventListener("click", () => {
        const next = DIRECTIONS[(DIRECTIONS.indexOf(heading.getAttribute("aria-sort")) + 1) % DIRECTIONS.length];
        sortTable(table, heading, next);
        writeAddress();
      });
    }
    const files = document.querySelector(`[data-table="${table.id}"]`);
    files.addEventListener("click", async (event) => {
      const { copy, save } = event.target.dataset;
      if (save) saveText(shownText(table, save), save, data.tables[table.id].name);
      if (!copy) return;
      await copyText(shownText(table, copy));
      const output = files.querySelector("output");
      output.textContent = "copied";
      setTimeout(() => (output.textContent = ""), 2000);
    });
    table.closest("details")?.addEventListener("toggle", () => fitTable(table));
  }
  const fitAll = () => tables.forEach(fitTable);
  listeners.push(fitAll);
  addEventListener("resize", fitAll);
  paper.addEventListener("change", fitAll);
}
