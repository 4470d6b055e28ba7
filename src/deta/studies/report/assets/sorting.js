// Tables sort by a click on a heading, or Enter on it: ascending, then descending. What is absent stays last.

function compareValues(first, second) {
  const [a, b] = [Number(first), Number(second)];
  if (!Number.isNaN(a) && !Number.isNaN(b)) return a - b;
  return first.localeCompare(second, undefined, { numeric: true });
}

function sortTable(table, heading) {
  const column = [...heading.parentElement.children].indexOf(heading);
  const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentElement.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * compareValues(a, b);
  });
  body.append(...rows);
}

function startSorting() {
  for (const table of document.querySelectorAll("table")) {
    for (const heading of table.querySelectorAll("th[aria-sort]")) {
      heading.querySelector("button").addEventListener("click", () => sortTable(table, heading));
    }
  }
}
