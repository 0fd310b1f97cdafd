import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { layers, lintFile, lintWalls, walls } from "../scripts/walls.ts";

const root = new URL("../", import.meta.url);

test("the list of walls has every room once", () => {
  const source = readdirSync(new URL("src", root), { withFileTypes: true });
  const rooms = source.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(layers.flat().toSorted()).toEqual([...new Set([...rooms, "preview", "tools"])].toSorted());
});

test("the lint holds the walls of the list", () => {
  expect(JSON.parse(readFileSync(lintFile, "utf8"))).toEqual(lintWalls());
});

test("ARCHITECTURE.md prints the walls of the list", () => {
  const page = readFileSync(fileURLToPath(new URL("ARCHITECTURE.md", root)), "utf8");
  expect(page.replaceAll(/\s+/g, " ")).toContain(walls);
});

test("what a page takes from the server's source runs in a browser too", () => {
  for (const room of ["job", "wire"]) {
    const folder = new URL(`src/${room}/`, root);
    const files = readdirSync(folder).filter((name) => !name.endsWith(".test.ts"));
    const withNode = files.filter((name) =>
      /from "node:|\bBuffer\b|\bprocess\./.test(readFileSync(new URL(name, folder), "utf8")),
    );
    expect(withNode, room).toEqual([]);
  }
});
