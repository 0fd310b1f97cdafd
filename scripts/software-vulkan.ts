import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

// Vulkan devices that compute on the CPU: WebGPU without a GPU.

/** Environment that leaves the Vulkan loader one driver. */
export function onlyDriver(manifest: string): Record<string, string> {
  // Loaders before 1.3.207 read the first.
  return { VK_ICD_FILENAMES: manifest, VK_DRIVER_FILES: manifest };
}

const swiftShader = "/usr/lib/chromium/vk_swiftshader_icd.json";
const loaders = ["/usr/lib", "/usr/lib64"].flatMap((folder) => [
  join(folder, "libvulkan.so.1"),
  join(folder, "x86_64-linux-gnu", "libvulkan.so.1"),
]);

/** SwiftShader's manifest, which Debian's Chromium brings, or what is missing to use it. f32 alone, and slow. */
export function findSwiftShader(): { readonly manifest: string } | { readonly missing: string } {
  if (process.platform !== "linux" || process.arch !== "x64") return { missing: "Linux on x64" };
  if (!existsSync(swiftShader)) return { missing: "Debian's package chromium" };
  if (!loaders.some((file) => existsSync(file))) return { missing: "Debian's package libvulkan1" };
  return { manifest: swiftShader };
}

const suite = "trixie";
const packages = ["mesa-vulkan-drivers", "libvulkan1", "libstdc++6"];
const manifests = join("usr", "share", "vulkan", "icd.d");

/** A Debian system in a folder, whose Vulkan is Mesa's lavapipe: f32 and f16. */
export interface LavapipeTree {
  readonly folder: string;
  /** The driver's manifest, as a path inside. */
  readonly manifest: string;
}

/**
 * Makes the tree with debootstrap, or takes the one that is there. It takes some 500 MB and a minute.
 * Mesa of Debian 12 is too old for the runtime's WebGPU, so that a newer Debian is needed.
 *
 * @throws Error naming what is missing, or that debootstrap failed: it has said why
 */
export function lavapipeTree(folder: string, mirror: string | undefined): LavapipeTree {
  requireTools();
  const there = treeIn(folder);
  if (there !== null) return there;
  if (existsSync(folder)) {
    throw new Error(
      `${folder} is there and is no tree with lavapipe. Name another folder with --tree, or remove it.`,
    );
  }
  process.stderr.write(`Making a Debian ${suite} tree with lavapipe in ${folder} (once)...\n`);
  mkdirSync(dirname(folder), { recursive: true });
  const unfinished = `${folder}.unfinished-${process.pid}`;
  try {
    const include = `--include=${packages.join(",")}`;
    const { status } = spawnSync(
      "debootstrap",
      ["--variant=minbase", include, suite, unfinished, ...(mirror === undefined ? [] : [mirror])],
      { stdio: ["ignore", 2, 2] },
    );
    if (status !== 0) throw new Error(`debootstrap failed (status ${status}); its log is above.`);
    if (treeIn(unfinished) === null) {
      throw new Error(`Debian ${suite} has no lavapipe in ${manifests} any more.`);
    }
    renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return treeIn(folder)!;
}

function requireTools(): void {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(
      "The tree with lavapipe needs Linux on x64. To test a device of this machine: --device webgpu.",
    );
  }
  if (process.getuid?.() !== 0) {
    throw new Error(
      "The tree with lavapipe needs root: debootstrap, chroot and mounts do. Run it as root, in a " +
        "container for instance. To test a device of this machine, which needs none: --device webgpu.",
    );
  }
  const missing = ["debootstrap", "unshare", "chroot", "mount"].filter(
    (tool) => spawnSync(tool, ["--version"]).error !== undefined,
  );
  if (missing.length > 0) {
    throw new Error(
      `There is no ${missing.join(" and no ")}: apt-get install debootstrap util-linux coreutils mount.`,
    );
  }
}

function treeIn(folder: string): LavapipeTree | null {
  const inside = join(folder, manifests);
  const name = existsSync(inside)
    ? readdirSync(inside).find((file) => /^lvp_icd.*\.json$/.test(file))
    : undefined;
  return name === undefined ? null : { folder, manifest: join("/", manifests, name) };
}

/** Mounts Node and folders into the tree, goes to the last of them and runs the rest there. */
const enter = `
tree=$1 node=$2 count=$3
shift 3
mkdir -p "$tree/opt" && touch "$tree/opt/node" && mount --bind "$node" "$tree/opt/node" || exit 1
while [ "$count" -gt 0 ]; do
  at=$1
  mkdir -p "$tree$at" && mount --rbind "$at" "$tree$at" || exit 1
  shift; count=$((count - 1))
done
exec chroot "$tree" /bin/sh -c 'cd "$1" && shift && exec /opt/node "$@"' sh "$at" "$@"
`;

/**
 * The command that runs this Node in a folder, inside the tree and in a mount namespace of its own:
 * no mount is left, however it ends.
 */
export function insideTree(
  { folder }: LavapipeTree,
  at: string,
  args: readonly string[],
): string[] {
  const shared = ["/dev", "/proc", "/sys", at];
  const namespace = ["unshare", "--mount", "--propagation", "private"];
  const places = [folder, process.execPath, String(shared.length), ...shared];
  return [...namespace, "sh", "-c", enter, "enter", ...places, ...args];
}
