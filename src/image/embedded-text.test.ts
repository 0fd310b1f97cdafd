import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  blank,
  blankPng,
  exifWithComment,
  jpegWithExif,
  pngChunk,
  textChunk,
  unicodeComment,
  withChunks,
} from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import { readEmbeddedTexts } from "./embedded-text.ts";

const infotext = "a café, 猫\nSteps: 8, Sampler: Euler";

test("the three text chunks of a PNG, each in its encoding, before the picture's data and behind it", async () => {
  const png = withChunks(
    await blankPng(),
    textChunk("latin", "café"),
    pngChunk(
      "zTXt",
      Buffer.concat([Buffer.from("packed\0\0", "latin1"), deflateSync(Buffer.from("é", "latin1"))]),
    ),
    pngChunk("tEXt", Buffer.from("stray\0猫")),
    pngChunk("iTXt", Buffer.from("unicode\0\0\0\0\0猫")),
    pngChunk("iTXt", Buffer.concat([Buffer.from("both\0\u0001\0en\0\0"), deflateSync("猫")])),
  );
  const end = png.length - 12;
  const late = Buffer.concat([png.subarray(0, end), textChunk("late", "x"), png.subarray(end)]);
  const { format, width, height, texts, problems } = await readEmbeddedTexts(late);
  expect({ format, width, height }).toEqual({ format: "png", width: 64, height: 64 });
  expect(texts.map(({ name, text }) => [name, text])).toEqual([
    ["latin", "café"],
    ["packed", "é"],
    ["stray", "猫"],
    ["unicode", "猫"],
    ["both", "猫"],
    ["late", "x"],
  ]);
  expect(problems).toEqual([]);
});

test("what can't be read is listed, and the rest is read", async () => {
  const bomb = deflateSync(Buffer.alloc(2 ** 24 + 1));
  const png = withChunks(
    await blankPng(),
    pngChunk("zTXt", Buffer.concat([Buffer.from("bomb\0\0", "latin1"), bomb])),
    pngChunk("zTXt", Buffer.from("broken\0\0xyz", "latin1")),
    pngChunk("iTXt", Buffer.from("odd\0\u0001\u0007\0\0x", "latin1")),
    textChunk("good", "text"),
  );
  const { texts, problems } = await readEmbeddedTexts(png.subarray(0, png.length - 20));
  expect(texts).toEqual([{ place: "PNG text", name: "good", text: "text" }]);
  expect(problems).toEqual([
    expect.stringContaining('"bomb" can\'t be read: with it the texts have more than'),
    expect.stringContaining('"broken" can\'t be read: it is damaged'),
    expect.stringContaining('"odd" can\'t be read: it is compressed in a way'),
    expect.stringContaining("ends in the middle of a chunk"),
  ]);
});

test.each([
  ["UTF-16 as piexif writes it", unicodeComment(infotext), infotext],
  [
    "UTF-16 little-endian",
    Buffer.concat([Buffer.from("UNICODE\0"), Buffer.from(infotext, "utf16le")]),
    infotext,
  ],
  ["ASCII", Buffer.from('ASCII\0\0\0{"seed": 1}'), '{"seed": 1}'],
  ["no code", Buffer.concat([Buffer.alloc(8), Buffer.from("é")]), "é"],
])("a UserComment in %s", async (_, comment, text) => {
  const exif = exifWithComment(comment);
  const jpeg = jpegWithExif(await blank(64, 64).jpeg().toBuffer(), exif);
  const png = withChunks(await blankPng(), pngChunk("eXIf", exif.subarray(6)));
  for (const picture of [jpeg, png]) {
    expect((await readEmbeddedTexts(picture)).texts).toEqual([
      { place: "Exif", name: "UserComment", text },
    ]);
  }
});

const xmp = (property: string) =>
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
  `<rdf:Description rdf:about="">${property}</rdf:Description></rdf:RDF></x:xmpmeta>`;
const escaped = "a &lt;b&gt; &amp;amp; &#34;c&#x22;";
const plainProperty = xmp(`<sdcpp:parameters>${escaped}</sdcpp:parameters>`);
const listProperty = xmp(
  `<exif:UserComment>\n<rdf:Alt>\n<rdf:li xml:lang="x-default">${escaped}</rdf:li>\n</rdf:Alt>\n</exif:UserComment>`,
);

test("Exif and XMP of a WebP, XMP of a PNG", async () => {
  const webp = await blank(64, 64)
    .withExif({ IFD0: { Model: "prompt:{}" } })
    .withXmp(plainProperty)
    .webp()
    .toBuffer();
  const { texts } = await readEmbeddedTexts(webp);
  expect(texts).toContainEqual({ place: "Exif", name: "Model", text: "prompt:{}" });
  const text = 'a <b> &amp; "c"';
  expect(texts).toContainEqual({ place: "XMP", name: "sdcpp:parameters", text });
  const chunk = pngChunk("iTXt", Buffer.from(`XML:com.adobe.xmp\0\0\0\0\0${listProperty}`));
  expect((await readEmbeddedTexts(withChunks(await blankPng(), chunk))).texts).toEqual([
    { place: "XMP", name: "exif:UserComment", text },
  ]);
});

test("a JPEG's comment, with a keyword and without", async () => {
  const jpeg = await blank(64, 64).jpeg().toBuffer();
  const comment = (text: string) => {
    const head = Buffer.from([0xff, 0xfe, 0, text.length + 2]);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  const file = Buffer.concat([
    jpeg.subarray(0, 2),
    comment("parameters\0a cat\0"),
    comment("plain"),
    jpeg.subarray(2),
  ]);
  expect((await readEmbeddedTexts(file)).texts).toEqual([
    { place: "JPEG comment", name: "parameters", text: "a cat" },
    { place: "JPEG comment", name: "", text: "plain" },
  ]);
});

test("what is no picture is refused", async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
  for (const bytes of [Buffer.from("no picture"), new Uint8Array(), svg]) {
    await expect(readEmbeddedTexts(bytes)).rejects.toThrow(InputError);
  }
});

test("a damaged file is read or refused, never a fault", async () => {
  const comment = exifWithComment(unicodeComment(infotext));
  const files = [
    withChunks(await blankPng(), textChunk("parameters", infotext), pngChunk("eXIf", comment)),
    jpegWithExif(await blank(64, 64).jpeg().toBuffer(), comment),
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...files),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 12 }),
      fc.nat(400),
      async (file, changes, cut) => {
        const bytes = Buffer.from(file);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        await readEmbeddedTexts(bytes.subarray(0, bytes.length - cut)).catch((error: unknown) => {
          expect(error).toBeInstanceOf(InputError);
        });
      },
    ),
    { numRuns: 200 },
  );
});
