// Makes docs/images/previews.jpg, retakes.jpg and elsewhere.jpg, which README.md shows: the last
// previews of demo/job, the same as `retake preview` draws them, and what their numbers come to in
// current diffusers. `node scripts/readme-pictures.ts` writes them again.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { encodeImage } from "../src/image/encode-image.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import { planRetakes } from "../src/preview/plan.ts";
import type { Report } from "../src/wire/report.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const job = join(root, "demo/job");
/** Between two pictures, in pixels. */
const gap = 8;

async function writeStrip(name: string, pictures: readonly (string | Uint8Array)[]): Promise<void> {
  const sizes = await Promise.all(pictures.map((picture) => sharp(picture).metadata()));
  const places = sizes.map((_, i) =>
    sizes.slice(0, i).reduce((left, { width }) => left + width + gap, 0),
  );
  const width = places.at(-1)! + sizes.at(-1)!.width;
  const height = Math.max(...sizes.map((size) => size.height));
  await sharp({ create: { width, height, channels: 3, background: "white" } })
    .composite(
      pictures.map((picture, i) => ({
        input:
          Buffer.isBuffer(picture) || typeof picture === "string" ? picture : Buffer.from(picture),
        left: places[i]!,
        top: 0,
      })),
    )
    .jpeg({ quality: 90 })
    .toFile(join(root, "docs/images", name));
}

const folder = mkdtempSync(join(tmpdir(), "retake-readme-"));
try {
  const command = [join(root, "src/cli/main.ts"), "preview", job, "--report", folder];
  execFileSync(process.execPath, command, { stdio: "inherit" });
  const report: Report = JSON.parse(readFileSync(join(folder, "report.json"), "utf8"));
  const last = report.samples.filter(({ step }) => step > 0);
  await writeStrip(
    "previews.jpg",
    last.map(({ preview }) => join(job, preview!)),
  );
  await writeStrip(
    "retakes.jpg",
    last.map(({ picture }) => join(folder, picture!)),
  );

  const { samples } = planRetakes(await readJobFolder(job));
  await using pipeline = await openPipeline({
    model: report.samples[0]!.settings.model!,
    weights: "demo",
  });
  const others: Uint8Array[] = [];
  for (const { step, request } of samples) {
    if (step === 0) continue;
    const { image } = await pipeline.generate({ ...request!, profile: "diffusers" });
    others.push(await encodeImage(image, "png", {}));
  }
  await writeStrip("elsewhere.jpg", others);
} finally {
  rmSync(folder, { recursive: true });
}
