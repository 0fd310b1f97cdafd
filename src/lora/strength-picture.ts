import { HeatmapChart } from "echarts/charts";
import { GridComponent, TitleComponent, VisualMapComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { LoraDescription } from "./describe.ts";

use([HeatmapChart, GridComponent, TitleComponent, VisualMapComponent, SVGRenderer]);

const cell = { width: 64, height: 18 };
const margin = { left: 130, top: 60, right: 110, bottom: 130 };

/** How strongly a LoRA acts, by layer and kind of module: a heat map, as SVG. */
export function drawStrength({
  name,
  strength,
}: Pick<LoraDescription, "name" | "strength">): string {
  const cells = Object.entries(strength).map(([module, value]) => ({ ...placeOf(module), value }));
  const rows = [...new Set(cells.map(({ row }) => row))];
  const columns = [...new Set(cells.map(({ column }) => column))];
  const largest = Math.max(...cells.map(({ value }) => value ?? 0));
  const chart = init(null, null, {
    renderer: "svg",
    ssr: true,
    width: margin.left + margin.right + cell.width * columns.length,
    height: margin.top + margin.bottom + cell.height * rows.length,
  });
  chart.setOption({
    backgroundColor: "#ffffff",
    animation: false,
    title: { text: `${name ?? "LoRA"}: size of the change of each module`, left: 16, top: 12 },
    grid: { ...margin, containLabel: false },
    xAxis: { type: "category", data: columns, axisLabel: { rotate: 40, interval: 0 } },
    yAxis: {
      type: "category",
      data: rows,
      inverse: true,
      axisLabel: { interval: 0, fontSize: 10 },
    },
    visualMap: {
      min: 0,
      // A scale without length can't be drawn.
      max: largest > 0 ? largest : 1,
      text: [largest.toPrecision(3), "0"],
      right: 8,
      top: "middle",
      inRange: { color: ["#f4f6fb", "#7aa6d8", "#1d4f91", "#0b1f3f"] },
    },
    series: [
      {
        type: "heatmap",
        data: cells.map(({ row, column, value }) => [
          columns.indexOf(column),
          rows.indexOf(row),
          value ?? "-",
        ]),
      },
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** `layers.3.attention.to_q` stands in row `layers.3`, column `attention.to_q`. */
function placeOf(module: string): { row: string; column: string } {
  const [, row, column] = /^(\w+\.\d+)\.(.+)$/.exec(module) ?? [];
  return row === undefined || column === undefined
    ? { row: "outside of layers", column: module }
    : { row, column };
}
