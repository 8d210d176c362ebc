import { capture } from "../../lib/nested/host_program.ts";
import { cacheFolder } from "../../lib/nested/mod.ts";
import { unpackPackages } from "../../lib/nested/packages.ts";

const INDEX = "arch/x86/include/asm/msr-index.h";

/** Debian's and Ubuntu's current headers, and how those are called that all flavours of a kernel share. */
const PACKAGES: readonly (readonly [current: string, commonSuffix: string])[] = [
  ["linux-headers-amd64", "-common"],
  ["linux-headers-generic", ""],
];
const VERSION = /^\s*Depends: (linux-headers-[\d.]+-\d+)-/m;

/** The folder of a kernel's headers: those of this system, or of its distribution, fetched once. */
export async function kernelHeaders(): Promise<string> {
  const installed = await headersBelow("/usr/src");
  if (installed !== undefined) return installed;
  const folder = `${cacheFolder()}/kernel-headers`;
  const kept = await headersBelow(`${folder}/usr/src`);
  if (kept !== undefined) return kept;
  const fetched = `${folder}.${crypto.randomUUID()}`;
  try {
    await unpackPackages(commonHeaders, fetched, "the kernel's headers", () => {});
    await Deno.rename(fetched, folder);
  } catch (error) {
    // Another run was quicker, or they cannot be had.
    const theirs = await headersBelow(`${folder}/usr/src`);
    if (theirs === undefined) throw error;
    return theirs;
  }
  return (await headersBelow(`${folder}/usr/src`))!;
}

async function headersBelow(folder: string): Promise<string | undefined> {
  try {
    for await (const { name } of Deno.readDir(folder)) {
      const sources = `${folder}/${name}`;
      const hasIndex = await Deno.stat(`${sources}/${INDEX}`).then(() => true, () => false);
      if (hasIndex) return sources;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

async function commonHeaders(): Promise<string[] | undefined> {
  for (const [current, suffix] of PACKAGES) {
    const { stdout } = await capture("apt-cache", ["depends", current]);
    const [, name] = VERSION.exec(stdout) ?? [];
    if (name !== undefined) return [`${name}${suffix}`];
  }
  return undefined;
}
