import {
  any,
  anyExit,
  asm,
  AssertionError,
  biosCall,
  boot,
  type ExitPattern,
  expect,
  hlt,
  int10,
  int13,
  int15,
  int16,
  int1A,
  PendingEventError,
  portOut,
} from "@vmexit/vmexit";
import { Bios, type BiosOptions, Disk } from "@vmexit/vmexit/devices";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

/** Reads a sector, tries again up to three times, and prints how it went. */
const LOADER = asm`
    mov bp, 3
  again:
    mov ax, 0x0201
    mov cx, 2
    mov dx, 0x80
    mov bx, 0x8000
    int 0x13
    jnc read
    mov ah, 0
    int 0x13
    dec bp
    jnz again
    mov si, failed
    jmp print
  read:
    mov si, ok
  print:
    lodsb
    test al, al
    jz done
    mov ah, 0x0e
    int 0x10
    jmp print
  done:
    hlt
  ok: db "ok", 0
  failed: db "no", 0
`;

function withBios(guest: Parameters<typeof boot>[0], options: BiosOptions = {}) {
  const disk = new Disk(new Uint8Array(1024).fill(0xd1, 512));
  const bios = new Bios({ disks: { 0x80: disk }, ...options });
  return { vm: boot(guest, { devices: [bios] }), bios, disk };
}

const READ = { ah: 0x02, al: 1, cx: 2, dl: 0x80, bx: 0x8000, es: 0 };

Deno.test("calls come in order, fail as the pattern says, and are then the BIOS's", () => {
  const { vm, bios } = withBios(LOADER);
  using _vm = vm;
  expect(vm).toExit([
    int13(READ).fails(0x04),
    int13({ ah: 0x00 }),
    int13({ ah: 0x02, dx: (drive) => drive === 0x80 }).fails(0x80),
    int13({ ah: 0x00 }),
    int13(READ),
    int10({ ah: 0x0e, al: "ok" }),
    hlt(),
  ]);
  expect(vm).toHaveMemory(0x8000, Array(8).fill(0xd1));
  assertEquals(bios.calls.map(({ ax }) => ax).slice(0, 5), [0x401, 1, 0x8001, 1, 1]);
  assertEquals(vm.bios, bios);
});

Deno.test("calls stand in the log by their names, with registers and results", () => {
  const { vm } = withBios(LOADER);
  using _vm = vm;
  vm.bios.fails(0x13, 0x02, 0x04);
  vm.run();
  const [first, , third] = vm.log.records();
  assertEquals(
    first.description,
    "INT 13h AH=02h: ax 0x201, bx 0x8000, cx 0x2, dx 0x80, si 0x0, di 0x0 → ax 0x401, cf",
  );
  assertMatch(third.description!, /^INT 13h AH=02h: .* → ax 0x1$/);
  const error = assertThrows(() => expect(vm).toHaveRegisters({ ax: 1 }), AssertionError);
  assertStringIncludes(error.message, "3  INT 13h AH=02h: ax 0x201");
});

Deno.test("a text printed in a row is one row of the page", () => {
  using vm = boot(
    asm`
      mov ah, 0x0e
      mov cx, 40
    again:
      int 0x10
      loop again
      hlt
    `,
    { devices: [new Bios()] },
  );
  vm.run();
  const error = assertThrows(() => expect(vm).toHaveRegisters({ cx: 1 }), AssertionError);
  assertStringIncludes(error.message, "1–40  INT 10h AH=0Eh 40 times, the last: ax 0xe");
});

Deno.test("a call with other registers, one that is missing, and one too many fail the transcript", () => {
  const fails = (patterns: readonly ExitPattern[], text: string) => {
    const { vm } = withBios(LOADER);
    using _vm = vm;
    assertStringIncludes(
      assertThrows(() => expect(vm).toExit(patterns), AssertionError).message,
      text,
    );
  };
  fails([int13({ ah: 0x02, dl: 0x81 }), hlt()], "received INT 13h AH=02h: ax 0x201");
  fails([int13({ ah: 0x02, dl: 0x81 }), hlt()], "expected INT 13h (ah 0x2, dl 0x81)");
  fails([int13({ ah: 0x02 }), int13({ ah: 0x02 }), hlt()], "received HLT");
  // Who names a vector foresees all of its calls.
  fails([int13({ ah: 0x02 }), int10({ al: "o" }), hlt()], "received INT 10h AH=0Eh: ax 0xe6b");
  fails([int10({ al: "okay" }), hlt()], 'expected the rest of INT 10h (al "okay"): "ay"');
  fails([int13({ ah: 0x02 }).fails(0x04).times(4), hlt()], "received INT 13h AH=00h");
  fails([int10().times(3), hlt()], "received HLT");
});

Deno.test("calls of vectors that no pattern names come in between; raw exits and any exit are calls, too", () => {
  for (
    const patterns of [
      [int13({ ah: 0x02 }), hlt()],
      [int10({ al: "ok" }), hlt()],
      [anyExit().times(3), hlt()],
      [portOut(any).times(3), hlt()],
      [biosCall(0x13), biosCall(0x10).times(2), hlt()],
    ]
  ) {
    const { vm } = withBios(LOADER);
    using _vm = vm;
    expect(vm).toExit(patterns);
  }
});

Deno.test("answers in place of the service: registers, flags, and nothing is written to the disk", () => {
  const { vm, disk } = withBios(asm`
    mov ax, 0x0301
    mov cx, 1
    mov dx, 0x80
    mov bx, 0x8000
    int 0x13
    jc bad
    push ax
    mov ah, 0x01
    int 0x16
    jz bad
    mov si, ax
    mov ax, 0xe820
    int 0x15
    jnc bad
    mov di, ax
    mov ah, 2
    int 0x1a
    pop ax
    hlt
  bad:
    out 0x80, al
    hlt
  `);
  using _vm = vm;
  expect(vm).toExit([
    int13({ ah: 0x03 }).returns({ ax: 0x1234 }),
    int16({ ah: 0x01 }).returns({ ah: 0x1e, al: 0x61, zf: false }),
    int15({ ax: 0xe820 }).returns({ ah: 0x86, cf: true, ebx: 0x1_0000, es: 0x1000 }),
    int1A({ ah: 2 }).returns({ ch: 0x23 }),
    hlt(),
  ]);
  assertEquals(disk.written, []);
  expect(vm).toHaveRegisters({
    ax: 0x1234,
    si: 0x1e61,
    di: 0x8620,
    ebx: 0x1_0000,
    "es.base": 0x1_0000n,
    ch: 0x23,
  });
});

Deno.test("a routine's calls are expected as any exit of it is", () => {
  const { vm } = withBios(asm`
    hlt
  reset_disk:
    mov ah, 0
    mov dl, 0x80
    int 0x13
    ret
  `);
  using _vm = vm;
  expect(vm).toCall("reset_disk", { dx: 0 }, [int13({ ah: 0, dl: 0x80 }).fails(0x05)]);
  assertThrows(
    () => expect(vm).toCall("reset_disk", { dx: 0 }, [int13({ ah: 2 })]),
    AssertionError,
    "received INT 13h AH=00h",
  );
});

Deno.test("a failure that was planned, and never delivered, is an error", () => {
  const { vm, bios } = withBios(LOADER);
  using _vm = vm;
  bios.fails(0x13, 0x42, 0x01);
  bios.fails(0x13, 0x02, 0x04, 2);
  const error = assertThrows(() => vm.run(), PendingEventError);
  assertStringIncludes(error.message, "INT 13h AH=42h was to fail by 0x1, and the guest has not");
  assertEquals(error.message.includes("AH=02h was to"), false);
  for (const run of [{}, { pending: true }] as const) {
    const again = withBios(LOADER);
    using vm = again.vm;
    again.bios.fails(0x13, 0x02, 0x04, run.pending ? 7 : 2);
    vm.run(run);
  }
  const other = withBios(LOADER);
  using second = other.vm;
  other.bios.fails(0x13, 0x08, 0x04);
  assertThrows(() => expect(second).toExit([int13({ ah: 2 }), hlt()]), PendingEventError, "AH=08h");
  const none = withBios(LOADER);
  using third = none.vm;
  assertThrows(() => third.run({ pending: true }), PendingEventError, "nothing that was injected");
});

Deno.test("what no call can be, and a machine without a BIOS, are refused", () => {
  using vm = boot(asm`hlt`);
  assertThrows(() => expect(vm).toExit([int13(), hlt()]), TypeError, "the machine has no BIOS");
  assertThrows(() => vm.bios, TypeError, "the machine has none");
  assertThrows(() => biosCall(0x100), RangeError, "no whole number");
  assertThrows(() => biosCall(0x13, undefined), TypeError, "undefined");
  assertThrows(() => int13(undefined), TypeError, "undefined");
  assertThrows(() => int13({}), TypeError);
  assertThrows(() => int13({ ah: undefined }), TypeError, "ah");
  assertThrows(() => int13({ ip: 1 } as never), TypeError, "no such register");
  assertThrows(() => int13({ ah: 0x100 }), RangeError, "8 bits");
  assertThrows(() => int13({ ax: "a" }), RangeError, "a register of 8 bits");
  assertThrows(() => int10({ al: "" }), RangeError, "a text");
  assertThrows(() => int10({ al: "a", ah: "b" }), TypeError, "Give it in one register");
  assertThrows(() => int13({ ah: 1n } as never), TypeError, "give a number");
  assertThrows(() => int10().fails(1), TypeError, "do not say so by CF");
  assertThrows(() => int13().fails(0), RangeError, "that is success");
  assertThrows(() => int13().fails(0x100), RangeError, "AH takes");
  assertThrows(() => int13().returns({}), TypeError);
  assertThrows(() => int13().returns({ cf: 1 } as never), TypeError, "true or false");
  assertThrows(() => int13().returns({ al: "x" } as never), TypeError, "give a number");
  assertThrows(() => int13().returns({ ax: 0x1_0000 }), RangeError, "16 bits");
  assertThrows(() => new Bios().fails(0x10, 2, 1), TypeError, "do not say so by CF");
  const { vm: idle, bios } = withBios(LOADER);
  using _idle = idle;
  assertThrows(() => bios.answerWaiting(() => {}), TypeError, "none that waits");
});
