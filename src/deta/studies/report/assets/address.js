"use strict"; // for all scripts of the page, of which this is the first
// The address keeps what the reader has chosen: every part of the page writes its choices behind the # and reads them.

const data = JSON.parse(document.getElementById("data").textContent);
const kept = []; // {write(params), read(params)}
let isReading = false;
const paper = matchMedia("print");

function writeAddress() {
  if (isReading) return;
  const params = new URLSearchParams();
  for (const part of kept) part.write(params);
  const text = params.toString();
  history.replaceState(null, "", text ? `#${text}` : location.href.split("#")[0]);
}

function readAddress() {
  isReading = true;
  const params = new URLSearchParams(location.hash.slice(1));
  for (const part of kept) part.read(params);
  isReading = false;
}
