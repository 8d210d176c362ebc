import type { StructLayout } from "../../../lib/ffi/struct.ts";
import { CAPABILITIES } from "../../../lib/kvm/abi/capabilities.ts";
import { CONSTANT_SINCE, CONSTANTS } from "../../../lib/kvm/abi/constants.ts";
import { EXIT_REASON, EXIT_REASON_SINCE } from "../../../lib/kvm/abi/exit_reasons.ts";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { STRUCTS } from "../../../lib/kvm/abi/structs/mod.ts";

/** A question that the compiler answers with a number, and the answer that our tables give. */
export interface Probe {
  /** What it is about: `"KVM_RUN"`, `"offset of kvm_run.io.port"`. */
  readonly name: string;
  /** One line of C that prints the answer, with `%ID` for the probe's own number. */
  readonly code: string;
  /** The answer of our tables. */
  readonly expected: bigint;
  /** The kernel version from which on the header has it. */
  readonly since?: string;
  /** Of a size: the place that it is the size of. */
  readonly sizeOf?: string;
  /** Of an offset or an alignment: the place. */
  readonly place?: string;
}

const print = (expression: string) => `answer(%ID, (unsigned long long)(${expression}));`;

function macro(name: string, expected: number | bigint, since?: string): Probe {
  return { name, code: print(name), expected: BigInt(expected), since };
}

function structProbes(layout: StructLayout): Probe[] {
  const type = `struct ${layout.name}`;
  const probes: Probe[] = [
    {
      name: `size of ${layout.name}`,
      code: print(`sizeof(${type})`),
      expected: BigInt(layout.size),
      since: layout.since,
      sizeOf: layout.name,
    },
    {
      name: `alignment of ${layout.name}`,
      code: print(`_Alignof(${type})`),
      expected: BigInt(layout.alignment),
      since: layout.since,
      place: layout.name,
    },
  ];
  for (const field of layout.fields) {
    const place = `${layout.name}.${field.path}`;
    const since = field.since ?? layout.since;
    if (field.bits !== undefined) {
      const code = `{ ${type} s = {0}; s.${field.path} = -1; answer(%ID, bits(&s, sizeof s)); }`;
      const first = BigInt(field.offset * 8 + field.bits.first);
      const expected = first << 32n | BigInt(field.bits.count);
      probes.push({ name: `bits of ${place}`, code, expected, since, place });
      continue;
    }
    probes.push({
      name: `offset of ${place}`,
      code: print(`__builtin_offsetof(${type}, ${field.path})`),
      expected: BigInt(field.offset),
      since,
      place,
    });
    // C knows no size of a flexible array; that of its first element is asked as a field of its own.
    if (field.size === 0) continue;
    probes.push({
      name: `size of ${place}`,
      code: print(`sizeof(((${type} *)0)->${field.path})`),
      expected: BigInt(field.size),
      since,
      sizeOf: place,
    });
  }
  return probes;
}

/** Every ioctl number. */
export const IOCTL_PROBES: readonly Probe[] = Object.values(IOCTLS).map(({ name, number, since }) =>
  macro(name, number, since)
);

/** Every capability. */
export const CAPABILITY_PROBES: readonly Probe[] = Object.values(CAPABILITIES).map((
  { name, number, since },
) => macro(name, number, since));

/** Every exit reason. */
export const EXIT_REASON_PROBES: readonly Probe[] = Object.entries(EXIT_REASON).map((
  [name, number],
) => macro(`KVM_EXIT_${name}`, number, EXIT_REASON_SINCE[name as keyof typeof EXIT_REASON]));

/** Every other constant. */
export const CONSTANT_PROBES: readonly Probe[] = Array.from(
  CONSTANTS,
  ([name, value]) => macro(name, value, CONSTANT_SINCE[name]),
);

/** Every structure: its size and alignment, and each member's offset, size and bits. */
export const STRUCT_PROBES: readonly Probe[] = [...STRUCTS.values()].flatMap(structProbes);
