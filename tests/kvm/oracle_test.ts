import { assertEquals } from "@std/assert";
import { CAPABILITIES } from "../../lib/kvm/abi/capabilities.ts";
import { CONSTANTS } from "../../lib/kvm/abi/constants.ts";
import { EXIT_REASON } from "../../lib/kvm/abi/exit_reasons.ts";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import { STRUCTS } from "../../lib/kvm/abi/structs/mod.ts";
import { ask, headerVersion } from "./oracle/ask.ts";
import { headerMacros, headerStructs } from "./oracle/header_declarations.ts";
import {
  NOT_DECLARED_MACROS,
  NOT_DECLARED_MEMBERS,
  NOT_DECLARED_STRUCTS,
} from "./oracle/not_declared.ts";
import {
  CAPABILITY_PROBES,
  CONSTANT_PROBES,
  EXIT_REASON_PROBES,
  IOCTL_PROBES,
  type Probe,
  STRUCT_PROBES,
} from "./oracle/probe.ts";

const FAMILIES: [what: string, probes: readonly Probe[]][] = [
  ["every ioctl number", IOCTL_PROBES],
  ["every capability", CAPABILITY_PROBES],
  ["every exit reason", EXIT_REASON_PROBES],
  ["every other constant", CONSTANT_PROBES],
  ["every structure's size, alignment and members", STRUCT_PROBES],
];

type Version = readonly number[];

function isNewer(since: string | undefined, header: Version): boolean {
  if (since === undefined) return false;
  const [major, minor] = since.split(".").map(Number);
  return major > header[0] || (major === header[0] && minor > header[1]);
}

/** Whether something inside `place` is lacking in this header, so that its size may be another. */
function holdsLacking(place: string | undefined, lacking: readonly string[]): boolean {
  return lacking.some((path) => path.startsWith(`${place}.`) || path.startsWith(`${place}[`));
}

/** The names of what is missing: a structure that is missing whole stands for all that is in it. */
function missingNames(missing: readonly Probe[]): string[] {
  const names = missing.map(({ name, place, sizeOf, since }) =>
    `${place ?? sizeOf ?? name} (Linux ${since})`
  );
  const places = missing.flatMap(({ sizeOf }) => sizeOf ?? []);
  return [...new Set(names)].filter((name) =>
    !places.some((whole) => name.startsWith(`${whole}.`) || name.startsWith(`${whole}[`))
  );
}

for (const [what, probes] of FAMILIES) {
  Deno.test(`${what} agrees with <linux/kvm.h>`, async () => {
    const header = await headerVersion();
    const answers = await ask(probes);
    const missing = probes.filter((_, i) => answers[i] === undefined);
    const lacking = missing.flatMap(({ place }) => place ?? []);
    const wrong = probes.flatMap(({ name, expected, sizeOf }, i) => {
      const actual = answers[i];
      if (actual === undefined || actual === expected || holdsLacking(sizeOf, lacking)) return [];
      return [`${name} is ${actual} in the header, ${expected} in vmexit`];
    });
    const unexplained = missing
      .filter(({ since }) => !isNewer(since, header))
      .map(({ name, since }) => `${name} (declared as of Linux ${since ?? "any version"})`);
    const version = header.join(".");
    const left = missingNames(missing);
    console.log(
      `compared ${
        probes.length - missing.length
      } of ${probes.length} with the header of Linux ${version}` +
        (left.length === 0 ? "" : `; not compared, because it lacks them: ${left.join(", ")}`),
    );
    assertEquals(wrong, []);
    assertEquals(unexplained, [], `the header of Linux ${version} has no such names`);
  });
}

/** The newest header that vmexit was compared with. What a newer one adds is reported, and no fault of the tables. */
const NEWEST_COMPARED = "7.2";

async function assertNothingForgotten(forgotten: string[]): Promise<void> {
  const [major, minor] = await headerVersion();
  if (
    forgotten.length > 0 && isNewer(`${major}.${minor}`, NEWEST_COMPARED.split(".").map(Number))
  ) {
    console.log(`not declared, new in Linux ${major}.${minor}: ${forgotten.sort().join(", ")}`);
    return;
  }
  assertEquals(forgotten.sort(), [], "declare them, or list them in oracle/not_declared.ts");
}

Deno.test("every macro of <linux/kvm.h> is declared, or listed as left out", async () => {
  const declared = new Set([
    ...Object.keys(IOCTLS),
    ...Object.keys(CAPABILITIES),
    ...Object.keys(EXIT_REASON).map((name) => `KVM_EXIT_${name}`),
    ...CONSTANTS.keys(),
  ]);
  const macros = await headerMacros();
  const forgotten = macros.filter((name) => !declared.has(name) && !NOT_DECLARED_MACROS.has(name));
  await assertNothingForgotten(forgotten);
  assertEquals([...NOT_DECLARED_MACROS].filter((name) => declared.has(name)), []);
});

Deno.test("every structure of <linux/kvm.h> is declared with all its members, or listed as left out", async () => {
  const forgotten: string[] = [];
  for (const [name, paths] of await headerStructs()) {
    const layout = STRUCTS.get(name);
    if (layout === undefined) {
      if (!NOT_DECLARED_STRUCTS.has(name)) forgotten.push(name);
      continue;
    }
    const declared = new Set(layout.fields.map(({ path }) => path));
    const unknown = paths.filter((path) => !declared.has(path)).map((path) => `${name}.${path}`);
    forgotten.push(...unknown.filter((path) => !NOT_DECLARED_MEMBERS.has(path)));
  }
  await assertNothingForgotten(forgotten);
});
