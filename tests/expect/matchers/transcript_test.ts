import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  anyExit,
  asm,
  boot,
  type ExitPattern,
  expect,
  hlt,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
  rdmsr,
  shutdown,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { failureOf, linesFrom } from "../messages.ts";

Deno.test("answers reach al, ax and eax, and string instructions of each width", () => {
  using vm = boot(asm`
    mov dx, 0x60
    in  al, dx
    mov bl, al
    in  ax, dx
    mov cx, ax
    in  eax, dx
    mov ebp, eax
    cld
    mov di, 0x800
    mov cx, 3
    rep insb
    mov cx, 2
    rep insw
    insd
    hlt
  `);
  expect(vm).toExit([
    portIn(0x60, 1).returns(0x11),
    portIn(0x60, 2).returns(0x2233),
    portIn(0x60, 4).returns(0x44556677),
    portIn(0x60, 1).returns("abc"),
    portIn(0x60, 2).returns([1, 2, 3, 4]),
    portIn(0x60, 4).returns(0x01020304n),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ bl: 0x11, ebp: 0x44556677, di: 0x80b });
  expect(vm).toHaveMemory(0x800, [0x61, 0x62, 0x63, 1, 2, 3, 4, 4, 3, 2, 1]);
});

Deno.test("repetition counts the accesses of a string instruction, whether they are one exit or several", () => {
  const guest = asm`
    mov di, 0x800
    mov si, 0x800
    mov dx, 0x60
    mov cx, 4
    rep insb
    mov cx, 4
    rep outsb
    hlt
  `;
  using vm = boot(guest);
  expect(vm).toExit([portIn(0x60).returns(7).times(4), portOut(0x60, 7).times(4), hlt()]);
  assertEquals(vm.log.records()[0].count, 4);
  for (const times of [1, 3, 5]) {
    using other = boot(guest);
    const transcript = [portIn(0x60).returns(7).times(times), portOut(0x60, 7).times(4), hlt()];
    assertThrows(() => expect(other).toExit(transcript), Error, "IO in 0x60 byte");
  }
  using answered = boot(guest);
  answered.ports.on(0x60, { read: () => 7, write() {} });
  expect(answered).toExit([portIn(0x60).times(4), portOut(0x60).times(4), hlt()]);
});

Deno.test("MMIO is answered and asserted in 1, 2, 4 and 8 bytes, and where it crosses a page", () => {
  using vm = boot(
    asm`
    bits 64
    mov  rbx, 0x200000
    mov  al, [rbx]
    mov  [rbx+8], al
    mov  cx, [rbx]
    mov  [rbx+8], cx
    mov  edx, [rbx]
    mov  [rbx+8], edx
    mov  rsi, [rbx]
    mov  [rbx+8], rsi
    mov  dword [rbx+0xffe], 0x44332211
    mov  edi, [rbx+0xffe]
    hlt
  `,
  );
  expect(vm).toExit([
    mmioRead(0x200000, 1).returns(0xaa),
    mmioWrite(0x200008, 0xaa, 1),
    mmioRead(0x200000, 2).returns(0xbbcc),
    mmioWrite(0x200008, 0xbbcc, 2),
    mmioRead(0x200000, 4).returns("text"),
    mmioWrite(0x200008, "text", 4),
    mmioRead(0x200000, 8).returns(0x1122334455667788n),
    mmioWrite(0x200008, 0x1122334455667788n, 8),
    mmioWrite(0x200ffe, [0x11, 0x22, 0x33, 0x44]),
    mmioRead(0x200ffe).returns([1, 2, 3, 4]),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ rsi: 0x1122334455667788n, edi: 0x04030201 });
});

const polling = asm`
poll:
  in   al, 0x64
  test al, 1
  jz   poll
  in   al, 0x60
  out  0x80, al
  hlt
`;

Deno.test("a device answers what no pattern names, in between", () => {
  using vm = boot(polling);
  let polls = 0;
  vm.ports.on(0x64, { read: () => ++polls === 3 ? 1 : 0 });
  expect(vm).toExit([portIn(0x60).returns(0x1c), portOut(0x80, 0x1c), hlt()]);
  assertEquals(polls, 3);
});

Deno.test("a device answers a read whose pattern has no answer", () => {
  using vm = boot(polling);
  vm.ports.on([0x60, 0x64], { read: () => 0x1d });
  expect(vm).toExit([portIn(0x64), portIn(0x60), portOut(0x80, 0x1d), hlt()]);
});

Deno.test("a pattern that answers comes before the device, and the device sees what is written", () => {
  using vm = boot(polling);
  const written: number[] = [];
  vm.ports.on([0x60, 0x80], {
    read: () => 0,
    write: (_port, value) => void written.push(value),
  });
  expect(vm).toExit([
    portIn(0x64).returns(0).times(2),
    portIn(0x64).returns(1),
    portIn(0x60).returns(7),
    portOut(0x80),
    hlt(),
  ]);
  assertEquals(written, [7]);
});

Deno.test("an exit at a place that a pattern names fails, even where a device answered", () => {
  using vm = boot(polling);
  vm.ports.on([0x60, 0x80], { read: () => 1, write() {} });
  assertEquals(
    linesFrom(() => expect(vm).toExit([portOut(0x80, 9), hlt()]), "  exit", 2),
    ["  exit 3  expected IO out 0x80 byte 0x9", "          received IO out 0x80 byte 0x1"],
  );
});

Deno.test("a read that nobody answers is an error that says how, at the test's line", () => {
  using vm = boot(polling);
  const error = assertThrows(
    () => expect(vm).toExit([portIn(0x64), hlt()]),
    UnhandledExitError,
    "portIn(0x64).returns(0)",
  );
  assertStringIncludes(error.stack!.split("\n    at ")[1], "transcript_test.ts");
});

const counting = asm`
  mov cx, 3
count:
  mov al, cl
  out 0x80, al
  loop count
  hlt
  jmp $
`;

Deno.test("a second transcript goes on where the first one stopped", () => {
  using vm = boot(counting);
  expect(vm).toExit([portOut(0x80, 3)]);
  expect(vm).toHaveRegisters({ cx: 3 });
  expect(vm).toExit([portOut(0x80, 2)]);
  expect(vm).toExit([portOut(0x80, 1), hlt()]);
  expect(vm).toBeHalted();
});

Deno.test("after HLT in the middle of a transcript the guest is run on", () => {
  using vm = boot(asm`
    hlt
    out 0x80, al
    hlt
  `);
  expect(vm).toExit([hlt(), portOut(0x80), hlt()]);
});

Deno.test("a guest that ends early fails", () => {
  using vm = boot(counting);
  const patterns = [portOut(0x80).times({ atLeast: 4 }), hlt()];
  assertEquals(linesFrom(() => expect(vm).toExit(patterns), "  exit", 2), [
    "  exit 4  expected IO out 0x80 any value × 4 or more",
    "          received HLT",
  ]);
});

Deno.test("a guest that does less than a transcript after its end fails", () => {
  using triple = boot(asm`
    lidt [zero]
    ud2
  zero: dq 0
  `);
  assertEquals(
    linesFrom(() => expect(triple).toExit([shutdown(), hlt()]), "  exit", 2),
    ["  exit 2  expected HLT", "          received nothing: the guest had shut down"],
  );
  using ended = boot(
    asm`
    out 0xf4, al
    hlt
  `,
    { exitPort: 0xf4 },
  );
  assertEquals(
    linesFrom(() => expect(ended).toExit([portOut(0xf4), hlt()]), "  exit", 2),
    ["  exit 2  expected HLT", "          received nothing: a device had ended the run"],
  );
});

const endless = asm`
again:
  out 0x80, al
  jmp again
`;

Deno.test("the time limit is for the whole transcript, so exits without end are stopped", () => {
  using vm = boot(endless);
  const patterns = [portOut(0x80).times({ atLeast: 0 }), hlt()];
  const { message } = failureOf(() => expect(vm).toExit(patterns, { timeout: 2 }));
  assertStringIncludes(message, "expected IO out 0x80 any value × 0 or more, or HLT");
  assertStringIncludes(message, "received nothing within ");
  expect(vm).toExit([portOut(0x80).times(2)]);
});

Deno.test("a guest that causes no exit is stopped by the time limit", () => {
  using vm = boot(asm`
    jmp $
  `);
  assertEquals(
    linesFrom(() => expect(vm).toExit([anyExit()], { timeout: 2 }), "  exit", 1),
    ["  exit 1  expected any exit"],
  );
});

Deno.test("what is no transcript is refused before the guest runs", () => {
  using vm = boot(endless);
  const refused: [unknown, new () => Error, string][] = [
    [[], TypeError, "it has no patterns. Write at least hlt()."],
    [hlt(), TypeError, "it is a pattern, and a transcript is a list of them"],
    [[hlt], TypeError, "element 0 is no pattern. Use portOut"],
    [[hlt(), portOut(1).optional()], RangeError, "its last pattern, IO out 0x1 any value × 0 to 1"],
  ];
  for (const [transcript, kind, message] of refused) {
    assertThrows(() => expect(vm).toExit(transcript as ExitPattern[]), kind, message);
  }
  assertThrows(() => expect(vm).toExit([hlt()], { timeout: 0 }), RangeError, "Cannot limit a run");
  assertEquals(vm.log.total, 0);
});

Deno.test("silence behind a transcript: the guest may halt or loop, and does no more", () => {
  using halts = boot(asm`
    out 0x80, al
    hlt
    out 0x81, al
  `);
  expect(halts).toExit([portOut(0x80)], { then: "silence" });
  using loops = boot(asm`
    out 0x80, al
    jmp $
  `);
  expect(loops).toExit([portOut(0x80)], { then: "silence" });
});

Deno.test("silence behind a transcript is broken by any exit, whoever would answer it", () => {
  const guest = asm`
    out 0x80, al
    mov dx, 0x3f8
    out dx, al
    hlt
  `;
  using quiet = boot(guest);
  expect(quiet).toExit([portOut(0x80)]);
  using vm = boot(guest);
  assertEquals(
    linesFrom(() => expect(vm).toExit([portOut(0x80)], { then: "silence" }), "  exit", 2),
    ["  exit 2  expected nothing more", "          received IO out 0x3f8 byte 0x0"],
  );
  using crashing = boot(asm`
    bits 64
    out 0x80, al
    ud2
  `);
  assertThrows(
    () => expect(crashing).toExit([portOut(0x80)], { then: "silence" }),
    Error,
    "received SHUTDOWN",
  );
});

Deno.test("silence is asked of each CPU that has not halted", () => {
  const source = asm`
    out 0x80, al
    hlt
  second:
    out 0x81, al
    out 0x82, al
    hlt
  `;
  const transcripts = { 0: [portOut(0x80), hlt()], 1: [portOut(0x81)] };
  using vm = boot(source, { cpus: [{}, { entry: "second" }] });
  assertThrows(
    () => expect(vm).toExit(transcripts, { then: "silence" }),
    Error,
    "received IO out 0x82",
  );
  assertThrows(
    () => expect(vm).toExit([hlt()], { then: "noise" as never }),
    RangeError,
    'Cannot expect "noise" behind a transcript',
  );
});

Deno.test("a transcript that waits for an MSR that is no exit says what makes it one", () => {
  const guest = asm`
    mov ecx, 0xc0000082
    rdmsr
    hlt
  `;
  const transcript = [rdmsr("LSTAR").returns(1), hlt()];
  using vm = boot(guest);
  assertStringIncludes(
    failureOf(() => expect(vm).toExit(transcript)).message,
    "0xc0000082 LSTAR is the vCPU's own: a read of it is no exit until " +
      'vm.msrs.intercept("LSTAR") makes it one.',
  );
  using other = boot(guest);
  other.msrs.intercept("LSTAR", { write: true, read: false });
  assertStringIncludes(failureOf(() => expect(other).toExit(transcript)).message, "vCPU's own");
  using intercepted = boot(guest);
  intercepted.msrs.intercept("LSTAR");
  expect(intercepted).toExit(transcript);
  using twice = boot(guest);
  twice.msrs.intercept("LSTAR");
  const { message } = failureOf(() =>
    expect(twice).toExit([...transcript.slice(0, 1), ...transcript])
  );
  assert(!message.includes("vCPU's own"), message);
});
