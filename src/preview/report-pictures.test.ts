import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import type { ShownPicture } from "./report-pictures.ts";
import { shownPair } from "./report-pictures.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-report-pictures-"));
  mkdirSync(join(folder, "pictures"));
  writeFileSync(join(folder, "pictures", "0.png"), golden("picture.png"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const golden = (name: string) => readFileSync(join(goldenFolder, "pictures", name));
const pair = { preview: "samples/0.jpg", picture: "pictures/0.png" };
const bytesOf = (shown: ShownPicture | string | null) =>
  Buffer.from((shown as ShownPicture).address.split(",")[1]!, "base64");

test.each(["jpg", "webp", "png"])(
  "shows a %s's own bytes, and the retake in its format",
  async (ending) => {
    const name = `picture.${ending}`;
    const { preview, retake } = await shownPair(pair, folder, async () => golden(name), null);
    expect(bytesOf(preview)).toEqual(golden(name));
    expect(preview).toMatchObject({ width: 83, height: 61, reduced: false });
    const [theirs, ours] = await Promise.all(
      [preview, retake].map((shown) => sharp(bytesOf(shown)).raw().toBuffer()),
    );
    expect(ours).toEqual(theirs);
  },
);

test("what is larger than is shown is made smaller, and known to be", async () => {
  const shown = await shownPair(pair, folder, async () => golden("picture.jpg"), 40);
  for (const picture of [shown.preview, shown.retake]) {
    expect(picture).toMatchObject({ width: 40, height: 29, reduced: true });
    expect(await sharp(bytesOf(picture)).metadata()).toMatchObject({ format: "webp", width: 40 });
  }
  const whole = await shownPair(pair, folder, async () => golden("picture.jpg"), 83);
  expect(whole.preview).toMatchObject({ reduced: false });
});

test("what can't be shown is said, and nothing else is", async () => {
  const none = await shownPair(
    { preview: null, picture: null },
    folder,
    async () => golden("x"),
    null,
  );
  expect(none).toEqual({ preview: null, retake: null });
  const gone = { preview: pair.preview, picture: "pictures/1.png" };
  const text = await shownPair(gone, folder, async () => Buffer.from("text"), null);
  expect(text.preview).toMatch(/^samples\/0\.jpg is not a picture that can be read/);
  expect(text.retake).toBe("pictures/1.png can't be read (ENOENT).");
});
