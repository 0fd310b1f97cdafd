import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const inFolder = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...inFolder("docs"),
  "demo/README.md",
  "reference/README.md",
];

/** A heading's anchor, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(/\s/g, "-");
}

function anchorsOf(file: string): string[] {
  const headings = readFileSync(file, "utf8").matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, heading]) => anchorOf(heading!));
}

test.each(pages)("what %s links to is there", (page) => {
  const file = join(root, page);
  const text = readFileSync(file, "utf8").replaceAll(/```.*?```/gs, "");
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  for (const link of links.filter((link) => !/^[a-z]+:/.test(link))) {
    const [path, anchor] = link.split("#");
    const target = path === "" ? file : join(dirname(file), path!);
    expect(existsSync(target), link).toBe(true);
    expect(relative(root, target).startsWith(".."), link).toBe(false);
    if (anchor !== undefined) expect(anchorsOf(target), link).toContain(anchor);
  }
});
