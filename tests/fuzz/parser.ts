import { assertEquals } from "@std/assert";
import { asm, boot, expect, type Machine } from "@vmexit/vmexit";

/** The size of the parser's buffer. */
export const MAX_LENGTH = 64;

/** An input that it takes: one command of each kind. */
export const SEED: Uint8Array<ArrayBuffer> = new Uint8Array([
  ...[0x56, 0x58],
  ...[0x53, 3],
]);

/** A machine that is about to parse. */
export function bootParser(): Machine {
  return boot(asm.file("parser.asm"), {
    mode: "protected",
    // An endless loop with interrupts off cannot be ended on each emulated machine.
    registers: { "rflags.if": true },
    memory: "1M",
    catchFaults: true,
    coverage: true,
    timeout: 10,
  });
}

/** What the parser is to answer. */
function model(input: Uint8Array): number {
  const at = (index: number) => input[index] ?? 0;
  let sum = 0;
  if (at(0) !== 0x56 || at(1) !== 0x58) return 0;
  for (let index = 2; index < input.length;) {
    const command = String.fromCharCode(at(index));
    if (command === "S") sum += at(index + 1);
    if (!"SDLWC".includes(command)) break;
    index += command === "D" ? 3 : 2;
  }
  return sum;
}

/** Has the guest parse it. */
export function parse(vm: Machine, input: Uint8Array): void {
  vm.memory.write("text", input);
  vm.registers.ecx = input.length;
  vm.run();
  expect(vm).toBeHalted();
  assertEquals(vm.registers.eax, model(input), "the sum");
}
