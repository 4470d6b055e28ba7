// Which cells are shown. Everything else listens: listeners are called when that changes.

const listeners = [];
let isShown = () => true;

const filters = document.getElementById("filters");
const search = document.getElementById("search");
const onlyComplete = document.getElementById("complete");
const axes = [...filters.querySelectorAll("fieldset")].map((field) => [...field.querySelectorAll("input")]);

function readFilters() {
  const wanted = axes.map((boxes) => new Set(boxes.filter((box) => box.checked).map((box) => box.value)));
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  return (cell) => {
    // A cell without a level on an axis has null there, which no box can leave out.
    const fits = cell.levels.every((level, axis) => level === null || wanted[axis].has(level));
    return fits && (cell.complete || !onlyComplete.checked) && words.every((word) => cell.text.includes(word));
  };
}

function applyFilters() {
  const passes = readFilters();
  const shown = new Set(data.cells.flatMap((cell, index) => (passes(cell) ? [index] : [])));
  isShown = (index) => shown.has(index);
  document.getElementById("count").textContent = `${shown.size} of ${data.cells.length} cells`;
  document.getElementById("nothing").hidden = shown.size > 0;
  for (const element of document.querySelectorAll("[data-cells]")) {
    element.hidden = !element.dataset.cells.split(" ").some((index) => isShown(Number(index)));
  }
  for (const listener of listeners) listener();
  writeAddress();
}

kept.push({
  write(params) {
    for (const boxes of axes) {
      if (boxes.every((box) => box.checked)) continue;
      const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
      for (const level of chosen.length ? chosen : [""]) params.append(`axis.${boxes[0].dataset.axis}`, level);
    }
    if (search.value) params.set("search", search.value);
    if (onlyComplete.checked) params.set("complete", "1");
  },
  read(params) {
    for (const boxes of axes) {
      const named = boxes.length ? params.getAll(`axis.${boxes[0].dataset.axis}`) : [];
      const chosen = named.filter((level) => level === "" || boxes.some((box) => box.value === level));
      for (const box of boxes) box.checked = chosen.length === 0 || chosen.includes(box.value);
    }
    search.value = params.get("search") ?? "";
    onlyComplete.checked = params.has("complete");
  },
});

function startFilters() {
  filters.addEventListener("input", applyFilters);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(applyFilters));
  if (matchMedia("(max-width: 700px)").matches) document.getElementById("filter-bar").open = false;
}
