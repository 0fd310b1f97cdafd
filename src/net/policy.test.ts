import fc from "fast-check";
import { expect, test } from "vitest";
import { allowedHost } from "../config/values.ts";
import { isListedAddress, isListedHost, isPublicAddress } from "./policy.ts";

test.each(["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"])(
  "public: %s",
  (address) => expect(isPublicAddress(address)).toBe(true),
);

test.each([
  "0.0.0.0",
  "0.1.2.3",
  "10.0.0.1",
  "100.64.0.1",
  "127.0.0.1",
  "127.255.255.254",
  "169.254.169.254",
  "172.16.0.1",
  "192.0.0.8",
  "192.0.2.1",
  "192.88.99.1",
  "192.168.1.1",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::7f00:1",
  "::8.8.8.8",
  "::ffff:127.0.0.1",
  "::ffff:8.8.8.8",
  "::ffff:0:127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b:1::7f00:1",
  "100::1",
  "2001::1",
  "2001:2::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "3fff::1",
  "4000::1",
  "5f00::1",
  "fc00::1",
  "fd00::1",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
  "127.1",
  "0x7f.0.0.1",
  "localhost",
  "",
])("not public: %s", (address) => expect(isPublicAddress(address)).toBe(false));

test("every address of the private IPv4 ranges, however it hides in IPv6", () => {
  const byte = fc.nat(255);
  const privateRange = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127, 240), byte, byte, byte),
    fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
  );
  fc.assert(
    fc.property(privateRange, ([a, b, c, d]) => {
      const dotted = `${a}.${b}.${c}.${d}`;
      const high = ((a << 8) | b).toString(16);
      const low = ((c << 8) | d).toString(16);
      for (const address of [
        dotted,
        `::${dotted}`,
        `::ffff:${dotted}`,
        `64:ff9b::${dotted}`,
        `2002:${high}:${low}::1`,
      ]) {
        expect(isPublicAddress(address), address).toBe(false);
      }
    }),
  );
});

test("the operator's list: addresses, ranges, hosts and what is under a name", () => {
  const list = ["10.1.0.0/16", "127.0.0.1", "fd00::/8", "lora.internal", ".corp.example"];
  const allow = list.map((entry) => allowedHost.parse(entry));
  for (const address of ["10.1.2.3", "127.0.0.1", "fd12::1"]) {
    expect(isListedAddress(address, allow), address).toBe(true);
  }
  for (const address of ["10.2.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "lora.internal"]) {
    expect(isListedAddress(address, allow), address).toBe(false);
  }
  expect(isListedHost("lora.internal", allow)).toBe(true);
  expect(isListedHost("a.corp.example", allow)).toBe(true);
  expect(isListedHost("x.lora.internal", allow)).toBe(false);
  expect(isListedHost("evilcorp.example", allow)).toBe(false);
});

test.each(["10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/8/8", "::/129", "Host", "a b", "http://a", ""])(
  "not an entry of the list: %j",
  (entry) => expect(allowedHost.safeParse(entry).success).toBe(false),
);
