"use strict"; // for all scripts of the page, of which this is the first
// Which cells are shown. Everything else listens: listeners get a function that says whether a cell is shown.

const data = JSON.parse(document.getElementById("data").textContent);
const listeners = [];
let isShown = () => true;

function readFilters() {
  const form = document.getElementById("filters");
  const wanted = data.axes.map((_, axis) => {
    const boxes = [...form.querySelectorAll(`input[name="axis-${axis}"]`)];
    return new Set(boxes.filter((box) => box.checked).map((box) => Number(box.value)));
  });
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const onlyComplete = document.getElementById("complete").checked;
  return (index) => {
    const cell = data.cells[index];
    // A cell without a level on an axis has -1 there, which no box can leave out.
    const fits = cell.levels.every((level, axis) => level < 0 || wanted[axis].has(level));
    return fits && (cell.complete || !onlyComplete) && words.every((word) => cell.text.includes(word));
  };
}

function applyFilters() {
  const passes = readFilters();
  const shown = new Set(data.cells.map((_, index) => index).filter(passes));
  isShown = (index) => shown.has(index);
  const count = document.getElementById("count");
  count.textContent = `${shown.size} of ${data.cells.length} cells`;
  document.getElementById("nothing").hidden = shown.size > 0;
  for (const element of document.querySelectorAll("[data-cells]")) {
    element.hidden = !element.dataset.cells.split(" ").some((index) => isShown(Number(index)));
  }
  for (const listener of listeners) listener();
}

function startFilters() {
  const form = document.getElementById("filters");
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(applyFilters));
  if (matchMedia("(max-width: 700px)").matches) document.getElementById("filter-bar").open = false;
}
