import fc from "fast-check";
import { expect, test } from "vitest";
import { findDuplicateKey } from "./duplicate-keys.ts";

test.each([
  ['{"a":1,"a":2}', "a"],
  ['{"x":[{"k":0},{"k":0,"\\u006b" : 1}]}', "k"],
  ['{"a\\"":1,"b":{"a\\"":2},"a\\"":3}', 'a"'],
  ['{"\\\\":1,"\\\\":2}', "\\"],
  ['{"__proto__":1,"__proto__":2}', "__proto__"],
  ['{"a":"a","b":":","c":{"a":1}}', undefined],
  ['[{"a":1},{"a":1}]', undefined],
])("%s", (text, key) => expect(findDuplicateKey(text)).toBe(key));

test("no JSON of distinct keys has a duplicate; the same object with a key again has", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), (object) => {
      const text = JSON.stringify(object);
      expect(findDuplicateKey(text)).toBeUndefined();
      const [key] = Object.keys(object);
      expect(findDuplicateKey(`${text.slice(0, -1)},${JSON.stringify(key)} : []}`)).toBe(key);
    }),
  );
});

test("a string of 30 MB is no obstacle", () => {
  const text = `{"a":"${"y\\n".repeat(1e7)}","b":1,"b":2}`;
  expect(findDuplicateKey(text)).toBe("b");
});
