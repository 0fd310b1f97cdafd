/** How a process ended that nobody here ended. */
export function exitReason(
  device: string,
  code: number | null,
  signal: NodeJS.Signals | null,
): string {
  const how = signal === null ? `exited with code ${code}` : `was ended by ${signal}`;
  const memory =
    signal === "SIGKILL" ? ", not by this server: the system does that when memory runs out" : "";
  return `The worker on ${device} ${how}${memory}.`;
}
