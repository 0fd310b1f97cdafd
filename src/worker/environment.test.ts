import { expect, test } from "vitest";
import { workerEnvironment } from "./environment.ts";

const whole = {
  PATH: "/bin",
  Path: "C:\\Windows",
  USERPROFILE: "C:\\Users\\ann",
  XDG_CACHE_HOME: "/cache",
  DYLD_LIBRARY_PATH: "/lib",
  NODE_EXTRA_CA_CERTS: "/ca.pem",
  CUDA_VISIBLE_DEVICES: "1",
  AWS_SECRET_ACCESS_KEY: "key",
  HF_TOKEN: "token",
  DATABASE_URL: "postgres://secret",
  RETAKE_SECRET: "secret",
  RETAKE_WEBHOOK_SECRET: "secret",
  OTEL_EXPORTER_OTLP_HEADERS: "secret",
  NODE_OPTIONS: "--inspect",
  HTTPS_PROXY: "http://user:password@proxy",
};
const found = [
  ...["PATH", "Path", "USERPROFILE", "XDG_CACHE_HOME", "DYLD_LIBRARY_PATH"],
  ...["NODE_EXTRA_CA_CERTS", "CUDA_VISIBLE_DEVICES"],
];

test("a worker gets what things are found by, and no secret", () => {
  expect(Object.keys(workerEnvironment(whole, "/out"))).toEqual(found);
});

test("keys of a bucket go to a worker that writes into one", () => {
  expect(Object.keys(workerEnvironment(whole, "s3://pictures/a"))).toEqual([
    ...found,
    "AWS_SECRET_ACCESS_KEY",
  ]);
});
