import { kvm_regs } from "../../kvm/abi/structs/registers.ts";
import { type AddressSpace, contentBytes } from "../../machine/memory/address_space.ts";
import type { Machine } from "../../machine/machine.ts";
import { flagNames } from "../../x86/registers/flags.ts";
import { rflagsFlags } from "../../x86/registers/flag_tables.ts";
import type { ExpectedMemory, Scenario } from "./scenario.ts";
import { hex } from "../../x86/hex.ts";

const REGISTERS_PER_LINE = 3;
const REGISTER_WIDTH = 24;
const BYTES_PER_LINE = 8;
const MOST_LINES = 4;
const ADDRESS_WIDTH = 17;
const BYTES_WIDTH = 23;

/** IP after a reset (Intel SDM Vol. 3A, 10.1.4). */
const RESET_VECTOR = 0xfff0n;

/** Registers that are shown whether or not the guest has changed them. */
const ALWAYS_SHOWN: ReadonlySet<string> = new Set(["rsp", "rip"]);

/**
 * What a stopped guest has left: its output, its registers, and the memory that is looked at. Lines, with headings at
 * their left.
 */
export function finalState(vm: Machine, scenario: Scenario): string[] {
  return [
    ...section("output", output(vm, scenario)),
    ...section(registersHeading(vm), registers(vm, scenario)),
    ...section("memory", memory(vm, scenario.memory ?? [])),
  ];
}

/** Where expected memory is, as a page of checks names it. */
export function placeOf(vm: Machine, { at, linear = false }: ExpectedMemory): {
  readonly space: AddressSpace;
  readonly address: number | bigint;
  readonly text: string;
} {
  const space = linear ? vm.linear : vm.memory;
  const address = space.addressOf(at);
  return { space, address, text: `${linear ? "linear" : "physical"} ${hex(address)}` };
}

function section(heading: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", `  ${heading}`, ...lines.map((line) => `    ${line}`)];
}

/** The text on each port that the scenario looks at, taken from the exits. */
function output(vm: Machine, scenario: Scenario): string[] {
  return (scenario.output ?? []).flatMap(([port]) => {
    const text = new TextDecoder().decode(vm.portOutput.bytes(port));
    const [first, ...rest] = text.trimEnd().split("\n");
    const place = `port ${hex(port)}`;
    return [
      `${place}  ${first}`,
      ...rest.map((line) => `${" ".repeat(place.length)}  ${line}`),
    ];
  });
}

function registersHeading({ lastExit, registers }: Machine): string {
  // SVM leaves the state of a CPU that shut down undefined, so KVM resets it; VMX keeps it.
  const isReset = lastExit?.reason === "SHUTDOWN" && registers.rip === RESET_VECTOR;
  return isReset ? "registers, as the shutdown has reset them" : "registers";
}

/** Where the guest stands, the registers that are not what they were at boot, and those that the scenario looks at. */
function registers(vm: Machine, scenario: Scenario): string[] {
  const cells = kvm_regs.fields
    .map(({ path }) => ({ path, value: vm.registers.get(path) as bigint }))
    .filter(({ path, value }) =>
      path !== "rflags" &&
      (ALWAYS_SHOWN.has(path) || value !== vm.bootRegisters[path as keyof typeof vm.bootRegisters])
    )
    .map(({ path, value }) => `${path.padEnd(3)} ${hex(value)}`.padEnd(REGISTER_WIDTH));
  const rflags = vm.registers.rflags.value;
  const names = flagNames(rflagsFlags, rflags).join(" ");
  cells.push(`rflags ${hex(rflags)}${names === "" ? "" : ` (${names})`}`);
  const lines: string[] = [];
  for (let index = 0; index < cells.length; index += REGISTERS_PER_LINE) {
    lines.push(cells.slice(index, index + REGISTERS_PER_LINE).join("").trimEnd());
  }
  const checked = Object.keys(scenario.registers ?? {})
    .map((path) => `${path} ${hex(vm.registers.get(path) as bigint)}`);
  return checked.length === 0 ? lines : [...lines, `looked at: ${checked.join(", ")}`];
}

function memory(vm: Machine, expected: readonly ExpectedMemory[]): string[] {
  return expected.flatMap((each) => {
    const { space, address, text } = placeOf(vm, each);
    const rows = bytesText(space.read(address, contentBytes(each.content).length));
    return rows.map((row, index) =>
      index === 0
        ? `${text.padEnd(ADDRESS_WIDTH)}  ${row.padEnd(BYTES_WIDTH)}  ${each.what}`
        : `${" ".repeat(ADDRESS_WIDTH)}  ${row}`
    );
  });
}

/** Bytes in hex, in lines; many equal ones by their number. */
function bytesText(bytes: Uint8Array): string[] {
  const [first] = bytes;
  if (bytes.length > BYTES_PER_LINE && bytes.every((byte) => byte === first)) {
    return [`${hexByte(first)} × ${bytes.length}`];
  }
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    lines.push(Array.from(bytes.subarray(at, at + BYTES_PER_LINE), hexByte).join(" "));
  }
  if (lines.length <= MOST_LINES) return lines;
  return [...lines.slice(0, MOST_LINES), `… ${bytes.length} bytes`];
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
