import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  AssertionError,
  boot,
  expect,
  fault,
  type FaultFields,
  GuestFaultError,
  hlt,
  type Machine,
  portOut,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { exceptionOf } from "@vmexit/vmexit/x86";
import { failureOf } from "../messages.ts";

const PROTECTION = asm`
  bits 64
  nop
broken:
  mov ds, eax
  out 0x80, al
  hlt
`;

function protection(): Machine {
  return boot(PROTECTION, { catchFaults: true, registers: { eax: 0x40 } });
}

/** The page of a failure up to where the guest was. */
function pageOf(call: () => void): string[] {
  const { message } = failureOf(call);
  return message.slice(0, message.indexOf("\n\nguest at")).split("\n");
}

Deno.test("toFault runs the guest to the fault and compares what is named", () => {
  using vm = protection();
  const { errorCode, cpl } = { errorCode: 0x40, cpl: 0 };
  expect(vm).toFault("#GP", { errorCode, cpl, rip: "broken", software: false });
  assertEquals(
    vm.fault!.text,
    "#GP at 0x10001 (`mov ds, eax`): error code 0x40, selector 0x40 of the GDT",
  );
  expect(vm).toFault("#GP", { rip: 0x10001n });
  vm.registers.eax = 0;
  expect(vm).toExit([portOut(0x80), hlt()]);
});

Deno.test("a fault whose fields are others is a failure that has them side by side", () => {
  using vm = protection();
  assertEquals(pageOf(() => expect(vm).toFault("#GP", { errorCode: 0x10, rip: "broken" })), [
    'expect(vm).toFault("#GP", { errorCode: 0x10, rip: "broken" })',
    "",
    "  errorCode  expected 0x10",
    "             received 0x40",
    "",
    "#GP at 0x10001 (`mov ds, eax`): error code 0x40, selector 0x40 of the GDT",
  ]);
  assertEquals(pageOf(() => expect(vm).toFault("#GP", { rip: 0x10003 })).slice(2, 4), [
    "  rip  expected 0x10003",
    "       received 0x10001",
  ]);
});

Deno.test("another fault is a failure that tells it", () => {
  using vm = protection();
  assertEquals(pageOf(() => expect(vm).toFault("#UD")), [
    'expect(vm).toFault("#UD")',
    "",
    "  fault  expected #UD",
    "         received #GP at 0x10001 (`mov ds, eax`): error code 0x40, selector 0x40 of the GDT",
  ]);
});

Deno.test("another page fault has its page tables on the page", () => {
  using vm = boot(
    asm`
    bits 64
    mov al, [0x4000]
  `,
    { catchFaults: true, mappings: [{ linear: 0x4000, size: 0x1000, present: false }] },
  );
  const page = pageOf(() => expect(vm).toFault("#PF", { cr2: 0x5000 }));
  assertEquals(page.slice(2, 8), [
    "  cr2  expected 0x5000",
    "       received 0x4000",
    "",
    "#PF at 0x10000 (`mov al, [0x4000]`): read from 0x4000, not present at PTE",
    "page tables",
    "    linear 0x4000, cr3 0x1000",
  ]);
});

Deno.test("a fault expected that does not come is a failure: the guest halts, shuts down, or runs on", () => {
  using halts = boot(asm`hlt`, { catchFaults: true });
  assertEquals(pageOf(() => expect(halts).toFault("#GP", { errorCode: 0x10 })), [
    'expect(vm).toFault("#GP", { errorCode: 0x10 })',
    "",
    "  end of the run  expected #GP (errorCode 0x10)",
    "                  received no fault: HLT, exit 1",
  ]);
  using shutsDown = boot(
    asm`
    bits 32
    mov esp, 0x6100       ; the stack is the IDT
    mov dword [0x6000 + 6 * 8], 0
    mov dword [0x6000 + 6 * 8 + 4], 0
    mov dword [0x6000 + 13 * 8 + 4], 0
    mov dword [0x6000 + 8 * 8 + 4], 0
    ud2
  `,
    { catchFaults: true },
  );
  const { message } = failureOf(() => expect(shutsDown).toFault("#UD"));
  assertStringIncludes(message, "received no fault: SHUTDOWN, exit 1");
  assertStringIncludes(message, "the CPU could not enter the fault catcher: for want of a stack");
  using loops = boot(asm`jmp $`, { catchFaults: true });
  assertStringIncludes(
    failureOf(() => expect(loops).toFault("#UD", {}, { timeout: 1 })).message,
    "ms: the guest still ran",
  );
});

Deno.test("the failure and the errors begin at the line of the test", () => {
  using vm = boot(
    asm`
    out 0x80, al
    ud2
  `,
    { catchFaults: true },
  );
  const error = assertThrows(() => expect(vm).toFault("#UD"), UnhandledExitError);
  assertStringIncludes(error.stack!.split("\n    at ")[1], "fault_test");
  vm.ports.on(0x80, { write() {} });
  const failure = assertThrows(() => expect(vm).toFault("#GP"), AssertionError);
  assertStringIncludes(failure.stack!.split("\n    at ")[1], "fault_test");
  const unexpected = assertThrows(() => expect(vm).toRunOutOfTime(), GuestFaultError);
  assertStringIncludes(unexpected.stack!.split("\n    at ")[1], "fault_test");
});

Deno.test("a transcript has faults among its exits, and goes on behind a trap", () => {
  using vm = boot(
    asm`
    out 0x80, al
    int3
    out 0x81, al
  here:
    ud2
  `,
    { catchFaults: true },
  );
  expect(vm).toExit([
    portOut(0x80),
    fault("#BP"),
    portOut(0x81),
    fault("#UD", { rip: "here", cpl: 0 }).times(2),
  ]);
  assertEquals(vm.fault!.name, "#UD");
});

Deno.test("a fault that the transcript does not foresee is the exit that came, in words", () => {
  using vm = boot(
    asm`
    out 0x80, al
    ud2
  `,
    { catchFaults: true },
  );
  const page = pageOf(() =>
    expect(vm).toExit([portOut(0x80), fault("#GP", { errorCode: 0x10 }), hlt()])
  );
  assertEquals(page, [
    "expect(vm).toExit([3 patterns])",
    "",
    "  exit 2  expected #GP (errorCode 0x10)",
    "          received #UD at 0x502 (`ud2`): invalid opcode, bytes 0f 0b 00 00 …",
    "",
    "transcript, from exit 1 on",
    "  ✓ IO out 0x80 any value  exit 1",
    "  → #GP (errorCode 0x10)",
    "    HLT",
  ]);
  const { message } = failureOf(() => expect(vm).toBeHalted());
  assertStringIncludes(message, "received #UD at 0x502: invalid opcode");
});

Deno.test("no pattern but fault() takes a fault", () => {
  using vm = boot(asm`ud2`, { catchFaults: true });
  assertStringIncludes(
    failureOf(() => expect(vm).toExit([portOut(0xbe)])).message,
    "received #UD at 0x500",
  );
});

Deno.test("without a catcher, faults cannot be expected, nor looked at", () => {
  using vm = boot(asm`hlt`);
  for (
    const misuse of [
      () => expect(vm).toFault("#GP"),
      () => expect(vm).toExit([fault("#GP")]),
      () => vm.fault,
    ]
  ) {
    assertThrows(misuse, TypeError, "the machine was booted without `catchFaults: true`");
  }
  assertEquals([vm.catchesFaults, vm.log.total], [false, 0]);
});

const REFUSED: [
  name: string,
  fields: unknown,
  error: typeof TypeError | typeof RangeError,
  message: string,
][] = [
  [
    "#GB",
    {},
    RangeError,
    'Cannot find exception "#GB": there is none of that name; the nearest are #DB, #GP, #DE',
  ],
  [
    "#UD",
    { errorCode: 0 },
    TypeError,
    "Cannot expect #UD with errorCode: the CPU pushes no error code for it",
  ],
  ["#GP", { cr2: 0 }, TypeError, "Cannot expect #GP with cr2: only #PF sets CR2"],
  ["#GP", { code: 0 }, TypeError, "the nearest are"],
  ["#GP", { errorCode: -1 }, RangeError, "give a whole number of 32 bits"],
  ["#GP", { errorCode: 2 ** 32 }, RangeError, "Cannot expect #GP with errorCode 4294967296"],
  ["#GP", { errorCode: "16" }, RangeError, "Cannot expect #GP with errorCode 16"],
  ["#PF", { cr2: 1n << 64n }, RangeError, "give a whole number of 64 bits"],
  ["#PF", { cpl: 4 }, RangeError, "give a whole number of 2 bits"],
  ["#PF", { rip: 0.5 }, RangeError, "or a label of the guest"],
  ["#PF", { software: 1 }, RangeError, "give true or false"],
];

Deno.test.each(REFUSED)("%s %o is no fault to expect", (name, fields, error, message) => {
  using vm = boot(asm`hlt`, { catchFaults: true });
  const toFault = () => expect(vm).toFault(name as "#GP", fields as FaultFields);
  assertThrows(toFault, error as typeof RangeError, message);
  assertThrows(
    () => fault(name as "#GP", fields as FaultFields),
    error as typeof RangeError,
    message,
  );
  assertEquals(vm.log.total, 0);
});

Deno.test("a label that the guest does not have is an error, not a mismatch", () => {
  using vm = boot(asm`ud2`, { catchFaults: true });
  assertThrows(() => expect(vm).toFault("#UD", { rip: "nowhere" }), RangeError, "nowhere");
  const mayCome = fault("#UD", { rip: "nowhere" }).optional();
  assertThrows(() => expect(vm).toExit([mayCome, hlt()]), RangeError, "nowhere");
  assertEquals(vm.log.total, 0);
});

Deno.test("exceptions are found by name, with and without #, and by vector", () => {
  assertEquals(["#GP", "gp", "nmi", "#XF", "#nmi"].map((name) => exceptionOf(name).vector), [
    13,
    13,
    2,
    19,
    2,
  ]);
  assertThrows(() => exceptionOf(32), RangeError, "whole numbers from 0 to 31");
});

Deno.test("`int 13` is no #GP, unless the test says that it is by software", () => {
  const guest = asm`
    bits 64
    int 13
  `;
  using vm = boot(guest, { catchFaults: true });
  const { message } = failureOf(() => expect(vm).toFault("#GP"));
  assertStringIncludes(message, "software");
  using meant = boot(guest, { catchFaults: true });
  expect(meant).toFault("#GP", { software: true });
});
