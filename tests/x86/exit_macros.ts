import { preprocess } from "../kvm/oracle/c_compiler.ts";

/** What a header of the kernel defines with a prefix: names without it, and values. */
export async function macros(
  header: string,
  prefix: string,
): Promise<[name: string, value: number][]> {
  const text = await preprocess(`#include <${header}>\n`, ["-dM"]);
  const pattern = new RegExp(`^#define ${prefix}(\\w+) +(-?(?:0x)?[0-9a-f]+)$`, "gm");
  return Array.from(text.matchAll(pattern), ([, name, value]) => [name, Number(value)]);
}
