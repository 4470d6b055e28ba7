// Everything starts with what the address says; the charts follow as soon as plotly.js is unpacked.

// It lies compressed in the page; an element of a script runs what it unpacks to.
async function unpackPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function showAll() {
  readAddress();
  if (picked.image) drawPictures();
  applyFilters();
}

startFilters();
startTables();
startPictures();
startCharts();
showAll();
addEventListener("hashchange", showAll);
unpackPlotly().then(
  () => {
    drawCharts();
    document.documentElement.dataset.drawn = "all";
  },
  (error) => {
    for (const chart of document.querySelectorAll(".chart")) {
      chart.textContent = `The charts cannot be unpacked; Chromium 80, Firefox 113 and Safari 16.4 can. ${error}`;
    }
  },
);
