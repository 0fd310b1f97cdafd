import type { LoraDescription } from "./describe.ts";
import { textLength, textPath } from "./letters.ts";

const cell = { width: 64, height: 18 };
const gap = 8;
const top = 50;
/** Room for the bar that tells what colours mean. */
const legendWidth = 110;
/** Columns' names run down to the right, so that long ones don't meet. */
const slope = 40;
/** Of little to much. */
const colours = ["#f4f6fb", "#7aa6d8", "#1d4f91", "#0b1f3f"];
/** Pixels of a letter's dot. */
const dot = { title: 2, label: 1.2 };

/** How strongly a LoRA acts, by layer and kind of module: a heat map, as SVG. */
export function drawStrength({ strength }: Pick<LoraDescription, "strength">): string {
  const cells = Object.entries(strength).map(([module, value]) => ({ ...placeOf(module), value }));
  const rows = [...new Set(cells.map(({ row }) => row))];
  const columns = [...new Set(cells.map(({ column }) => column))];
  const largest = Math.max(0, ...cells.map(({ value }) => value ?? 0));
  const grid = { width: cell.width * columns.length, height: cell.height * rows.length };
  const left = Math.max(0, ...rows.map(labelLength)) + 2 * gap;
  const right = left + grid.width;
  const bottom = top + grid.height;
  const longest = Math.max(0, ...columns.map(labelLength));
  const radians = (slope / 180) * Math.PI;
  const size = {
    width: Math.ceil(
      Math.max(
        right + legendWidth,
        right + longest * Math.cos(radians),
        32 + textLength(title) * dot.title,
      ),
    ),
    height: Math.ceil(bottom + longest * Math.sin(radians) + 3 * gap),
  };
  const parts = [
    `<rect width="${size.width}" height="${size.height}" fill="#ffffff"/>`,
    textAt(16, 14, title, dot.title),
    ...cells.map(({ row, column, value }) => {
      const x = left + columns.indexOf(column) * cell.width;
      const y = top + rows.indexOf(row) * cell.height;
      // Without a value the cell is left open.
      const fill = value === null ? "none" : colourOf(largest > 0 ? value / largest : 0);
      return `<rect x="${x}" y="${y}" width="${cell.width}" height="${cell.height}" fill="${fill}"/>`;
    }),
    ...rows.map((row, i) => {
      return textAt(left - gap - labelLength(row), top + i * cell.height + 5, row, dot.label);
    }),
    ...columns.map((column, i) => {
      return textAt(left + (i + 0.5) * cell.width, bottom + gap, column, dot.label, slope);
    }),
    legend(right + 3 * gap, top, Math.max(grid.height, 60), largest),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}">${parts.join("")}</svg>`;
}

const title = "size of the change of each module";

function labelLength(label: string): number {
  return textLength(label) * dot.label;
}

function textAt(x: number, y: number, text: string, scale: number, degrees = 0): string {
  return `<path transform="translate(${x} ${y}) rotate(${degrees}) scale(${scale})" d="${textPath(text)}" fill="#333333"/>`;
}

/** A bar from the largest value down to 0. */
function legend(x: number, y: number, height: number, largest: number): string {
  const stops = colours.map(
    (colour, i) => `<stop offset="${1 - i / (colours.length - 1)}" stop-color="${colour}"/>`,
  );
  return (
    `<linearGradient id="scale" x2="0" y2="1">${stops.reverse().join("")}</linearGradient>` +
    `<rect x="${x}" y="${y}" width="14" height="${height}" fill="url(#scale)"/>` +
    textAt(x + 20, y, largest.toPrecision(3), dot.label) +
    textAt(x + 20, y + height - 9, "0", dot.label)
  );
}

/** @param share of the largest value, 0 to 1 */
function colourOf(share: number): string {
  const place = share * (colours.length - 1);
  const below = Math.min(Math.floor(place), colours.length - 2);
  const channels = [1, 3, 5].map((at) => {
    const [from, to] = [colours[below]!, colours[below + 1]!].map((colour) =>
      Number.parseInt(colour.slice(at, at + 2), 16),
    );
    return Math.round(from! + (to! - from!) * (place - below));
  });
  return `rgb(${channels.join(",")})`;
}

/** `layers.3.attention.to_q` stands in row `layers.3`, column `attention.to_q`. */
function placeOf(module: string): { row: string; column: string } {
  const [, row, column] = /^(\w+\.\d+)\.(.+)$/.exec(module) ?? [];
  return row === undefined || column === undefined
    ? { row: "outside of layers", column: module }
    : { row, column };
}
