// The script of report.html, inlined into it. It works without any of it too: pictures side by
// side, everything shown.

/** A colour for no difference, and so on to the largest one shown; pictures.css draws the same scale. */
const ramp = [
  [0, 0, 4],
  [87, 16, 110],
  [188, 55, 84],
  [249, 142, 9],
  [252, 255, 164],
];

/** Amplifications that are tried, the largest first. */
const gains = [32, 16, 8, 4, 2, 1];

const root = document.documentElement;
const pictures = /** @type {HTMLElement} */ (document.getElementById("pictures"));
const cards = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".card")]);
const shown = /** @type {HTMLElement} */ (document.getElementById("shown"));

/**
 * The radio buttons of a name do `act` with the value that is chosen.
 *
 * @param {string} name
 * @param {(value: string) => void} act
 */
function onChoice(name, act) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.addEventListener("change", () => act(radio.value));
    // A browser keeps the choice when the page is loaded again.
    if (radio.checked) act(radio.value);
  }
}

/** @param {string} verdict */
function showVerdict(verdict) {
  for (const card of cards) card.hidden = verdict !== "all" && card.dataset.verdict !== verdict;
  const left = cards.filter((card) => !card.hidden).length;
  shown.textContent = `${left} of ${cards.length} pictures shown.`;
}

/** A link to a picture leads there whatever is filtered. */
function revealTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target?.classList.contains("card") || !target.hidden) return;
  const all = /** @type {HTMLInputElement} */ (document.querySelector('input[value="all"]'));
  all.checked = true;
  showVerdict("all");
  target.scrollIntoView();
}

/** @param {HTMLElement} pair */
function slide(pair) {
  const input = /** @type {HTMLInputElement} */ (pair.querySelector(".slide input"));
  const image = /** @type {HTMLImageElement} */ (pair.querySelector("img"));
  // As they are written: the picture may not be decoded yet.
  const size = ["width", "height"].map((side) => image.getAttribute(side));
  pair.parentElement?.style.setProperty("--ratio", size.join(" / "));
  const follow = () => {
    pair.style.setProperty("--at", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${input.value} % preview, the rest retake`);
  };
  input.addEventListener("input", follow);
  follow();
}

/**
 * @param {HTMLImageElement} image
 * @returns {Uint8ClampedArray} RGBA
 */
function pixelsOf(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

/**
 * The largest difference of a pixel's channels.
 *
 * @param {Uint8ClampedArray} a
 * @param {Uint8ClampedArray} b
 */
function differences(a, b) {
  const result = new Uint8Array(a.length / 4);
  for (let pixel = 0; pixel < result.length; pixel++) {
    for (let at = 4 * pixel; at < 4 * pixel + 3; at++) {
      const difference = Math.abs(Number(a[at]) - Number(b[at]));
      if (difference > Number(result[pixel])) result[pixel] = difference;
    }
  }
  return result;
}

/**
 * The largest amplification that leaves 99 of 100 pixels within the scale.
 *
 * @param {Uint8Array} values
 */
function gainFor(values) {
  const sorted = values.toSorted();
  const most = Number(sorted[Math.floor(0.99 * (sorted.length - 1))]);
  return gains.find((gain) => gain * most <= 255) ?? 1;
}

/** @param {number} share of the scale, 0 to 1 */
function colourAt(share) {
  const place = share * (ramp.length - 1);
  const below = Math.min(Math.floor(place), ramp.length - 2);
  return ramp[below]?.map((from, channel) => {
    const to = Number(ramp[below + 1]?.[channel]);
    return from + (place - below) * (to - from);
  });
}

/** @param {HTMLElement} figure with its canvas */
async function drawMap(figure) {
  const [before, after] = /** @type {HTMLImageElement[]} */ ([
    ...(figure.parentElement?.querySelectorAll(".pair img") ?? []),
  ]);
  if (!before || !after) return;
  await Promise.all([before.decode(), after.decode()]);
  const values = differences(pixelsOf(before), pixelsOf(after));
  const gain = gainFor(values);
  const canvas = /** @type {HTMLCanvasElement} */ (figure.querySelector("canvas"));
  canvas.width = before.naturalWidth;
  canvas.height = before.naturalHeight;
  const map = new ImageData(canvas.width, canvas.height);
  const colours = Array.from({ length: 256 }, (_, value) => colourAt(value / 255) ?? []);
  for (const [pixel, value] of values.entries()) {
    const colour = colours[Math.min(255, gain * value)] ?? [];
    map.data.set([...colour, 255], 4 * pixel);
  }
  canvas.getContext("2d")?.putImageData(map, 0, 0);
  const says = /** @type {HTMLElement} */ (figure.querySelector(".says"));
  const most = Math.max(...new Set(values));
  says.textContent =
    most === 0
      ? "Difference: none, every pixel is equal"
      : gain === 1
        ? "Difference: the brightest is 255 of 255"
        : `Difference, ${gain} times as strong: the brightest is ${Math.ceil(255 / gain)} of 255 or more`;
  canvas.setAttribute("aria-label", says.textContent);
  figure.dataset.drawn = "yes";
}

root.classList.add("scripted");
for (const pair of document.querySelectorAll(".pair.both")) {
  slide(/** @type {HTMLElement} */ (pair));
}
onChoice("verdict", showVerdict);
onChoice("view", (view) => {
  pictures.dataset.view = view;
});
addEventListener("hashchange", revealTarget);
revealTarget();

const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      const figure = /** @type {HTMLElement} */ (target);
      drawMap(figure).catch(() => {
        figure.hidden = true; // a picture that the browser can't decode is seen as such
      });
    }
  },
  { rootMargin: "600px" },
);
for (const figure of document.querySelectorAll(".map")) seen.observe(figure);
