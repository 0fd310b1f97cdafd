/** Properties that generators write their parameters into. */
const properties = ["exif:UserComment", "sdcpp:parameters"];

const entities: Readonly<Record<string, string>> = {
  lt: "<",
  gt: ">",
  amp: "&",
  quot: '"',
  apos: "'",
};

/**
 * The texts of the two XMP properties that hold a generator's parameters: Draw Things' and stable-diffusion.cpp's.
 * No more of the XML is understood.
 */
export function readXmpTexts(xmp: string): { name: string; text: string }[] {
  return properties.flatMap((name) => {
    const start = xmp.indexOf(`<${name}`);
    const open = start === -1 ? -1 : xmp.indexOf(">", start);
    const end = open === -1 ? -1 : xmp.indexOf(`</${name}>`, open);
    if (end === -1) return [];
    const content = xmp.slice(open + 1, end);
    // A text with languages stands in a list of one.
    const item = /^\s*<rdf:Alt>\s*<rdf:li[^>]{0,200}>([^<]*)<\/rdf:li>\s*<\/rdf:Alt>\s*$/.exec(
      content,
    );
    return [{ name, text: unescaped(item?.[1] ?? content) }];
  });
}

function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{1,8}));/gi, (whole, ...found) => {
    const [decimal, hex, name] = found as (string | undefined)[];
    if (name !== undefined) return entities[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
