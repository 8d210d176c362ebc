import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  expect,
  fault,
  hlt,
  type Machine,
  shutdown,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { intelHost } from "../../hosts/intel.ts";
import { failureOf } from "../../expect/messages.ts";

const OWN = "the guest has an IDT of its own in force (base 0x20000, limit 0x6f), which does not " +
  "lead to its fault catcher";

/** Loads a table of its own, whose gate of #UD leads to a panic, and has a #UD. */
const guest = asm`
  bits 32
  ud2
loads:
  mov eax, panic
  mov [0x20000 + 6 * 8], ax
  mov word [0x20000 + 6 * 8 + 2], cs
  mov word [0x20000 + 6 * 8 + 4], 0x8e00
  shr eax, 16
  mov [0x20000 + 6 * 8 + 6], ax
  lidt [table]
broken:
  ud2
panic:
  cli
  hlt
unhandled:
  lidt [table]
  out 0x80, al
  mov ax, 0x50
  mov ds, ax
table:
  dw 14 * 8 - 1
  dd 0x20000
`;

const ports = { 0x80: { write() {} } };

function kernel(entry: "loads" | "unhandled"): Machine {
  const libc = intelHost(kvmLibc());
  return boot(guest, { catchFaults: true, entry, ports, libc });
}

Deno.test("a guest with an IDT of its own handles its faults: that nothing was caught is no answer", () => {
  using vm = kernel("loads");
  assertEquals(vm.fault, undefined);
  assertEquals(vm.run().reason, "HLT");
  assertThrows(() => vm.fault, TypeError, `Cannot look for a fault: ${OWN}`);
});

Deno.test("a fault that is expected there is not seen, and the failure says why", () => {
  using vm = kernel("loads");
  const { message } = failureOf(() => expect(vm).toFault("#UD", { rip: "broken" }));
  assertStringIncludes(message, `received no fault: HLT, exit 1; ${OWN}`);
  using transcript = kernel("loads");
  const page = failureOf(() => expect(transcript).toExit([fault("#UD"), hlt()])).message;
  assertStringIncludes(page, `  faults are not caught: ${OWN}`);
});

Deno.test("where its handlers do not take a fault, the page of the shutdown names its IDT", () => {
  using vm = kernel("unhandled");
  const { message } = assertThrows(() => vm.run(), UnhandledExitError);
  assertStringIncludes(message, `  faults are not caught: ${OWN}`);
  assertEquals(message.includes("Booted with"), false);
  using expected = kernel("unhandled");
  assertStringIncludes(
    failureOf(() => expect(expected).toFault("#GP")).message,
    `received no fault: SHUTDOWN, exit 2; ${OWN}`,
  );
});

Deno.test("AMD's processors forget IDTR at a shutdown: the page has it among the causes", () => {
  using vm = boot(guest, { catchFaults: true, entry: "unhandled", ports });
  expect(vm).toExit([shutdown()]);
  const { message } = failureOf(() => expect(vm).toBeHalted());
  const isKept = message.includes(OWN);
  assertEquals(
    isKept || message.includes("or because the guest has an IDT of its own (lidt)"),
    true,
  );
});

Deno.test("a fault that was caught before stays known", () => {
  using vm = boot(guest, { catchFaults: true });
  expect(vm).toFault("#UD");
  vm.registers.rip = "loads";
  vm.run();
  assertEquals(vm.fault?.name, "#UD");
});

Deno.test("real mode: another vector table is the guest's own", () => {
  using vm = boot(
    asm`
      mov word [0x2000 + 6 * 4], panic
      lidt [table]
      ud2
    panic:
      hlt
    table:
      dw 0x3ff
      dd 0x2000
    `,
    { catchFaults: true },
  );
  vm.run();
  assertThrows(() => vm.fault, TypeError, "an IDT of its own in force (base 0x2000, limit 0x3ff)");
});
