import { asm, boot } from "@vmexit/vmexit";
import { Bios, Disk, TestClock, TextScreen } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FUZZ_SEED, FUZZED_ACCESSES } from "./fuzz.ts";

/** What is in the list for a call: its vector, and AX, BX, CX, DX, SI, DI, BP, DS, ES. */
type Call = readonly [vector: number, ...registers: number[]];

const LIST = 0x7_0000;
const CALL_SIZE = 20;
const CALLS_OF_MACHINE = 2_000;
/** A call is an access of the stub's. */
const CALLS = FUZZED_ACCESSES / 5;

/** Makes the calls of the list at 0x70000, CX of them. */
const GUEST = asm`
  bits 16
  mov ax, 0x7000
  mov fs, ax
  xor si, si
next:
  push cx
  push si
  mov al, [fs:si]
  mov [cs:call_it + 1], al
  mov ax, [fs:si + 2]
  mov bx, [fs:si + 4]
  mov cx, [fs:si + 6]
  mov dx, [fs:si + 8]
  mov di, [fs:si + 12]
  mov bp, [fs:si + 14]
  mov ds, [fs:si + 16]
  mov es, [fs:si + 18]
  mov si, [fs:si + 10]
  jmp call_it         ; the instruction has changed
call_it:
  int 0x10
  pop si
  pop cx
  add si, 20
  loop next
  hlt
`;

/**
 * Left out are INT 18h and 19h, which turn the power off, INT 15h AH=86h, which waits, and AX=2400h, which would hide
 * memory; AH=87h and disk packets, which write wherever the guest's memory says.
 */
function isHarmless([vector, ax]: Call): boolean {
  const ah = ax >> 8;
  if (vector === 0x13) return ah !== 0x42 && ah !== 0x43;
  if (vector === 0x15) return ah !== 0x86 && ah !== 0x87 && ah !== 0x24;
  // It waits for a key, and there are as many as are typed.
  return !(vector === 0x16 && (ah & ~0x10) === 0);
}

const word = fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0, max: 0xff }));
/** From here on, 64 KiB lie neither over the guest nor over the list. */
const segment = fc.integer({ min: 0x1000, max: 0x5fff });
const ax = fc.oneof(
  word,
  fc.tuple(
    fc.constantFrom(0, 1, 2, 3, 4, 6, 7, 8, 9, 0xe, 0x13, 0x41, 0x48, 0x88, 0xe8),
    fc.nat(40),
  )
    .map(([ah, al]) => ah << 8 | al),
  fc.constantFrom(0xe820, 0xe801, 0x1300, 0x1301),
);
const drive = fc.constantFrom(0x80, 0x00, 0x81);
const call: fc.Arbitrary<Call> = fc.tuple(
  fc.constantFrom(0x08, 0x10, 0x10, 0x11, 0x12, 0x13, 0x13, 0x14, 0x15, 0x15, 0x16, 0x17, 0x1a),
  ax,
  fc.oneof(word, fc.constantFrom(0x55aa, 0, 7)),
  fc.oneof(word, fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 18 })).map(([c, s]) => c << 8 | s)),
  fc.oneof(word, fc.tuple(fc.nat(1), drive).map(([head, drive]) => head << 8 | drive)),
  word,
  word,
  word,
  segment,
  segment,
).filter(isHarmless);

Deno.test(`${CALLS.toLocaleString("en")} calls of the BIOS with random registers`, () => {
  const calls = fc.array(call, {
    minLength: CALLS_OF_MACHINE,
    maxLength: CALLS_OF_MACHINE,
    size: "max",
  });
  const { failed, seed, errorInstance } = fc.check(
    fc.property(calls, (calls) => {
      const screen = new TextScreen();
      const disks = { 0x00: new Disk(1_474_560), 0x80: new Disk(512 * 63 * 16 * 4) };
      const bios = new Bios({ screen, disks, keys: "keys" });
      using vm = boot(GUEST, {
        devices: [screen, bios],
        memory: "2M",
        clock: new TestClock(),
        timeout: 60_000,
        registers: { cx: calls.length },
      });
      const list = new Uint16Array(calls.length * CALL_SIZE / 2);
      calls.forEach((each, index) => list.set(each, index * CALL_SIZE / 2));
      vm.memory.write(LIST, new Uint8Array(list.buffer));
      vm.run();
      assertEquals([vm.registers.cx, vm.registers.si], [0, calls.length * CALL_SIZE]);
      // The timer's handler is no service.
      assertEquals(bios.calls.length, calls.filter(([vector]) => vector !== 0x08).length);
      // The services do what they do, whatever came before.
      assertEquals(bios.calls.some(({ isKnown }) => isKnown), true);
      const state = bios.save();
      bios.restore(structuredClone(state));
      assertEquals(bios.save(), state);
    }),
    { numRuns: CALLS / CALLS_OF_MACHINE, endOnFailure: true, seed: FUZZ_SEED },
  );
  if (!failed) return;
  throw new Error(`Fuzzed with the seed ${seed}`, { cause: errorInstance });
});
