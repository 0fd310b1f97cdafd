import { sizeText } from "../files/space.ts";
import type { Machine } from "./machine.ts";

/** What the doctor says of each device, and which `auto` takes. */
export function deviceLines({ devices, automatic }: Machine): string {
  const lines = devices.map(({ name, problem, facts }) => {
    const parts = [problem === null ? "works" : problem];
    if (facts !== null) parts.push(...factTexts(facts));
    return `  device        ${name}: ${parts.join("; ")}\n`;
  });
  const chosen = `  device        auto takes ${automatic.device}: ${automatic.reason}\n`;
  return chosen + lines.join("");
}

type Facts = NonNullable<Machine["devices"][number]["facts"]>;

function factTexts(facts: Facts): string[] {
  const { name, driver, isSoftware, memoryBytes, isShared, f16, maxBufferBytes } = facts;
  const memory = memoryBytes === null ? "memory not known" : sizeText(memoryBytes);
  return [
    name ?? "no name known",
    ...(driver === null ? [] : [`driver ${driver}`]),
    ...(isSoftware === true ? ["a software adapter: --device cpu is faster"] : []),
    `${memory}${memoryBytes !== null && isShared ? " shared with the processor" : ""}`,
    ...(f16 ? [] : ["no f16"]),
    ...(maxBufferBytes === null ? [] : [`tensors up to ${sizeText(maxBufferBytes)}`]),
    ...(facts.fusedAttention ? [] : ["attention in plain operators, as the fused one is wrong"]),
  ];
}

export function deviceJson({ devices }: Machine) {
  return devices.map(({ name, problem, facts }) => ({
    name,
    problem,
    adapter: facts?.name ?? null,
    driver: facts?.driver ?? null,
    is_software: facts?.isSoftware ?? null,
    memory_bytes: facts?.memoryBytes ?? null,
    is_shared: facts?.isShared ?? null,
    f16: facts?.f16 ?? null,
    fused_attention: facts?.fusedAttention ?? null,
    max_buffer_bytes: facts?.maxBufferBytes ?? null,
  }));
}
