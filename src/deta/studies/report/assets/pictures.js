// Boxes over images: ground truth alone in its column, and what every training found or assigned beside it.

const UNITS = 300; // across an image, in which its boxes and texts are drawn
const SVG = "http://www.w3.org/2000/svg";
const LETTER = { width: 6.1, height: 13 }; // of a name, in the same units
const HINTS = {
  detections: "Scores below the limit are drawn pale, in thin lines: nothing is left out of the 100 best.",
  assigned: "Bold: objects, each with the number of boxes that answer for it, dashed without any. Thin: those boxes.",
};

const picked = { image: document.getElementById("image"), least: document.getElementById("least-score") };

function chosenLayer() {
  return document.querySelector('[name="layer"]:checked').value;
}

// As in the pictures of a run: bright, and neighbouring numbers are far apart.
function colourOf(number) {
  return `hsl(${Math.round(((number * 0.618034) % 1) * 360)} 85% ${[55, 42, 50][number % 3]}%)`;
}

function shape(name, attributes, content = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = content;
  return element;
}

function overlap(first, second) {
  const width = Math.min(first.x + first.width, second.x + second.width) - Math.max(first.x, second.x);
  const height = Math.min(first.y + first.height, second.y + second.height) - Math.max(first.y, second.y);
  return Math.max(0, width) * Math.max(0, height);
}

class Scene {
  constructor(image) {
    this.height = UNITS * image.ratio;
    this.svg = shape("svg", { viewBox: `0 0 ${UNITS} ${this.height}`, role: "presentation" });
    this.names = [];
  }

  box([x0, y0, x1, y1], colour, kind, title, opacity = 1) {
    const place = { x: x0 * UNITS, y: y0 * this.height, width: (x1 - x0) * UNITS, height: (y1 - y0) * this.height };
    const rectangle = shape("rect", { ...place, class: kind, stroke: colour, opacity });
    if (title) rectangle.append(shape("title", {}, title));
    this.svg.append(rectangle);
    return place;
  }

  // Above, inside or below its box, where it hides the least of other names.
  name(text, place, colour) {
    const size = { width: Math.min(text.length * LETTER.width + 6, UNITS), height: LETTER.height };
    const corners = [
      [place.x, place.y - size.height], [place.x, place.y],
      [place.x, place.y + place.height], [place.x + place.width - size.width, place.y],
    ];
    const inside = (value, most) => Math.max(0, Math.min(value, most));
    const spots = corners.map(([x, y]) => ({
      ...size, x: inside(x, UNITS - size.width), y: inside(y, this.height - size.height),
    }));
    const hidden = (spot) => this.names.reduce((sum, other) => sum + overlap(spot, other), 0);
    const spot = spots.reduce((best, each) => (hidden(each) < hidden(best) ? each : best));
    this.names.push(spot);
    this.svg.append(shape("rect", { ...spot, class: "plate", fill: colour }));
    this.svg.append(shape("text", { x: spot.x + 3, y: spot.y + size.height - 3 }, text));
  }
}

function drawObjects(image, numbers) {
  const scene = new Scene(image);
  for (const corners of image.ignored) scene.box(corners, "#ddd", "ignored", "not annotated");
  const byObject = numbers !== null;
  image.truth.forEach((row, object) => {
    const [name, colour] = [data.pictures.classes[row[4]], colourOf(byObject ? object : row[4])];
    const kind = byObject && numbers?.[object] === 0 ? "bold without" : "bold";
    const place = scene.box(row, colour, kind, name);
    scene.name(numbers?.length ? `${name}: ${numbers[object]}` : name, place, colour);
  });
  return scene;
}

function drawDetections(image, rows, least) {
  const scene = new Scene(image);
  for (const row of [...rows].reverse()) {
    const [name, colour] = [data.pictures.classes[row[4]], colourOf(row[4])];
    const text = `${name} ${row[5].toFixed(2)}`;
    const isPale = row[5] < least;
    const opacity = isPale ? 0.15 + (0.4 * row[5]) / least : 1;
    const place = scene.box(row, colour, isPale ? "thin" : "bold", text, opacity);
    if (!isPale) scene.name(text, place, colour);
  }
  const strong = rows.filter((row) => row[5] >= least).length;
  return [scene, `${strong} from ${least.toFixed(2)}, ${rows.length - strong} below`];
}

function drawAssigned(image, rows) {
  const numbers = image.truth.map((_, object) => rows.filter((row) => row[5] === object).length);
  const scene = drawObjects(image, numbers);
  for (const row of rows) scene.box(row, colourOf(row[5]), "thin", data.pictures.classes[row[4]]);
  const without = numbers.filter((number) => number === 0).length;
  return [scene, `${rows.length} boxes for ${numbers.length} objects${without ? `, ${without} without` : ""}`];
}

function figure(image, scene, heading, told, cells) {
  const element = document.createElement("figure");
  const [caption, picture, canvas] = ["figcaption", "img", "div"].map((name) => document.createElement(name));
  picture.src = image.source;
  picture.alt = told;
  canvas.className = "canvas";
  canvas.append(picture, ...(scene ? [scene.svg] : []));
  const note = document.createElement("span");
  note.className = "run";
  note.textContent = told;
  caption.append(...heading, note);
  element.append(caption, canvas);
  if (cells) {
    element.dataset.cells = cells.join(" ");
    element.hidden = !cells.some(isShown);
  }
  return element;
}

function drawPictures() {
  const image = data.pictures.images[picked.image.selectedIndex];
  const [layer, least] = [chosenLayer(), Number(picked.least.value)];
  const isFound = layer === "detections";
  const strong = document.createElement("b");
  strong.textContent = "ground truth";
  const objects = figure(image, drawObjects(image, isFound ? null : []), [strong], `${image.truth.length} objects`);
  document.querySelector(".pictures .truth").replaceChildren(objects);
  const figures = image.found.map((each) => {
    const { label, line, cells } = data.pictures.trainings[each.training];
    const rows = each.layers[layer];
    const [scene, told] = !rows
      ? [null, `no ${data.pictures.layers[layer]}`]
      : isFound ? drawDetections(image, rows, least) : drawAssigned(image, rows);
    const heading = document.createElement("span");
    heading.innerHTML = swatch({ line });
    heading.append(label);
    return figure(image, scene, [heading], `seed ${each.seed}: ${told}`, cells);
  });
  document.querySelector(".pictures .found").replaceChildren(...figures);
  document.getElementById("scores").hidden = !isFound;
  document.querySelector("#scores output").textContent = least.toFixed(2);
  document.getElementById("how-drawn").textContent = isFound ? HINTS.detections : HINTS.assigned;
}

kept.push({
  write(params) {
    if (!picked.image) return;
    if (picked.image.selectedIndex > 0) params.set("image", picked.image.value);
    if (chosenLayer() !== Object.keys(data.pictures.layers)[0]) params.set("boxes", chosenLayer());
    if (picked.least.value !== picked.least.defaultValue) params.set("scores", picked.least.value);
  },
  read(params) {
    if (!picked.image) return;
    const [image, layer] = [params.get("image"), params.get("boxes")];
    picked.image.selectedIndex = Math.max(0, [...picked.image.options].findIndex((option) => option.value === image));
    const radios = [...document.querySelectorAll('[name="layer"]')];
    (radios.find((radio) => radio.value === layer) ?? radios[0]).checked = true;
    picked.least.value = params.get("scores") ?? picked.least.defaultValue;
  },
});

function startPictures() {
  if (!picked.image) return;
  const form = picked.image.form;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    drawPictures();
    writeAddress();
  });
}
