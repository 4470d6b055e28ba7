// What a reader sees of a page: every visible text with its place, what is cut or hidden, and what lies on what.
() => {
  const SKIPPED = "script, style, noscript, option, title, .canvas svg, .modebar";
  const width = document.documentElement.clientWidth;
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    const text = node.textContent.trim();
    if (!text || element.closest(SKIPPED)) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const isDrawn = element.closest("svg") !== null;
    for (const box of isDrawn ? [element.getBoundingClientRect()] : range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      texts.push({ text, element, isDrawn, box });
    }
  }
  const name = ({ text, element }) => `${text.slice(0, 40)} (${element.tagName.toLowerCase()} in ${element.closest("[id]")?.id})`;

  // Beyond the window, or beyond an ancestor that shows no more than its own inside.
  const cut = texts.filter(({ element, box }) => {
    if (box.left < -1 || box.right > width + 1) return true;
    for (let parent = element.parentElement; parent && parent !== document.body; parent = parent.parentElement) {
      if (getComputedStyle(parent).overflowX === "visible") continue;
      const inside = parent.getBoundingClientRect();
      if (box.left < inside.left - 1 || box.right > inside.right + 1) return true;
    }
    return false;
  });

  const SLACK = 3; // pixels of a line's height that no letter fills
  const overlaps = [];
  const sorted = [...texts].sort((a, b) => a.box.top - b.box.top);
  for (let i = 0; i < sorted.length; i++) {
    for (let j = i + 1; j < sorted.length && sorted[j].box.top < sorted[i].box.bottom - SLACK; j++) {
      const [a, b] = [sorted[i], sorted[j]];
      if (a.element === b.element) continue;
      const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (across > SLACK && down > SLACK) overlaps.push(`${name(a)} on ${name(b)}`);
    }
  }

  const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let parent = element; parent; parent = parent.parentElement) {
      const colour = getComputedStyle(parent).backgroundColor;
      if (channels(colour).length === 3) return colour; // a fourth is a veil
    }
    return "rgb(255, 255, 255)";
  };
  const faint = texts.filter(({ element, isDrawn }) => {
    if (isDrawn || element.closest(".absent, .canvas")) return false;
    const [ink, behind] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    return (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05) < 4.5; // WCAG 2.2, 1.4.3
  });

  return {
    pageWidth: document.scrollingElement.scrollWidth,
    regions: [...document.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth).length,
    cut: cut.map(name),
    overlaps,
    faint: [...new Set(faint.map(name))],
    texts: [...new Set(texts.filter((each) => !each.isDrawn).map((each) => each.text))].sort(),
  };
}
