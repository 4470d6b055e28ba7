// Pictures of one image at a time; then everything starts with what the filter shows.

function showImage(name) {
  for (const figure of document.querySelectorAll("[data-image]")) figure.classList.toggle("other", figure.dataset.image !== name);
}

function startPictures() {
  const select = document.getElementById("image");
  if (!select) return;
  select.addEventListener("change", () => showImage(select.value));
  showImage(select.value);
}

startFilters();
startSorting();
startCharts();
startPictures();
applyFilters();
