import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  expect,
  GuestFaultError,
  Image,
  type ObservedExit,
  portOut,
} from "@vmexit/vmexit";

Deno.test("exits() ends with a fault, and the log has it in words", () => {
  using vm = boot(
    asm`
    out 0x80, al
    ud2
  `,
    { catchFaults: true },
  );
  const seen: ObservedExit[] = [];
  const collect = () => {
    for (const observed of vm.exits()) seen.push(observed);
  };
  assertThrows(collect, GuestFaultError);
  assertEquals(seen.map(({ exit, fault }) => [exit.reason, fault?.name]), [
    ["IO", undefined],
    ["IO", "#UD"],
  ]);
  assertEquals(vm.log.latest!.fault, "#UD at 0x502: invalid opcode, bytes 0f 0b 00 00 …");
  assertThrows(collect, GuestFaultError);
  assertEquals(seen.map(({ fault }) => fault?.name), [undefined, "#UD", "#UD"], "tried again");
});

Deno.test("faults are told where the kernel has the interrupt controllers, and HLT is no exit", () => {
  using vm = boot(asm`ud2`, { irqchip: true, catchFaults: true });
  expect(vm).toFault("#UD", { cpl: 0 });
});

Deno.test("a guest's own write to the catcher's port is an exit like any other", () => {
  using vm = boot(
    asm`
    out 0xbe, al
    hlt
  `,
    { catchFaults: true },
  );
  expect(vm).toExit([portOut(0xbe)]);
  assertEquals([vm.fault, vm.run().reason], [undefined, "HLT"]);
});

Deno.test("a device at the catcher's port has what the guest itself writes there, by itself and in a transcript", () => {
  const guest = asm`
    bits 64
    mov al, 7
    out 0xbe, al
    in  al, 0xbe
    out 0xbe, al
    mov ax, 0x50
  load:
    mov ds, ax
  `;
  for (const isTranscript of [false, true]) {
    using vm = boot(guest, { catchFaults: true });
    const written: number[] = [];
    vm.ports.on(0xbe, { read: () => 9, write: (_, value) => void written.push(value) });
    if (isTranscript) expect(vm).toFault("#GP", { rip: "load" });
    else assertThrows(() => vm.run(), GuestFaultError);
    assertEquals([written, vm.log.total, vm.lastExit?.reason], [[7, 9], 4, "IO"]);
  }
});

Deno.test("a fault behind a breakpoint by steps leaves none of its TF in the guest", () => {
  using vm = boot(
    asm`
      bits 64
      mov ax, 0x50
    load:
      mov ds, ax
    never:
      hlt
    `,
    { catchFaults: true },
  );
  using never = vm.debug.breakAt("never", { by: "step" });
  assertThrows(() => vm.run(), GuestFaultError);
  assertEquals([vm.registers.rflags.tf, vm.fault!.rflags & 0x100n], [false, 0n]);
  assertEquals(never.hits, 0);
});

Deno.test("a handler of the guest's own has its vector, and the catcher the others", () => {
  using vm = boot(
    asm`
      bits 64
      ud2
    handler:
      mov ebx, 1
      div bh
    `,
    { gates: { 6: "handler" }, catchFaults: true },
  );
  expect(vm).toFault("#DE");
  assertEquals([vm.registers.ebx, vm.log.total], [1, 1]);
});

Deno.test("code that is not assembled by vmexit has its faults told by bytes and addresses", () => {
  const image = Image.fromBytes(new Uint8Array([0x90, 0x0f, 0xff]), { origin: 0x600 });
  using vm = boot(image, { catchFaults: true });
  assertThrows(() => vm.run(), GuestFaultError, "#UD at 0x601");
});

Deno.test("the error is a page: the fault, the page tables, the place, registers, exits", () => {
  using vm = boot(
    asm`
      bits 64
      mov eax, 0x4000
      mov bl, 7
      mov [rax], bl
      hlt
    `,
    { catchFaults: true, mappings: [{ linear: 0x4000, size: 0x1000, present: false }] },
  );
  const error = assertThrows(() => vm.run(), GuestFaultError);
  assertInstanceOf(error.fault.walk, Object);
  const lines = error.message.split("\n").filter((line) => !line.includes("fault_reports_test"));
  assertEquals(lines.map((line) => line.replace(/\d+ │/, "│")), [
    "#PF at 0x10007 (`mov [rax], bl`): write to 0x4000, not present at PTE",
    "",
    "page tables",
    "    linear 0x4000, cr3 0x1000",
    "    PML4E at 0x1000: 0x0000000000002023 writable, supervisor, executable, accessed",
    "    PDPTE at 0x2000: 0x0000000000003023 writable, supervisor, executable, accessed",
    "    PDE   at 0x3000: 0x0000000000004023 writable, supervisor, executable, accessed",
    "    PTE   at 0x4020: 0x0000000000000000 not present",
    "    not mapped: the PTE is not present",
    "guest at 0x10007 in 64-bit mode",
    "    │ bits 64",
    "    │ mov eax, 0x4000",
    "    │ mov bl, 7",
    "  → │ mov [rax], bl",
    "    │ hlt",
    "  → 0x10007  88 18  mov [rax],bl",
    "    0x10009  f4     hlt",
    "registers that changed since boot",
    "    rax 0x4000  rbx 0x7",
    "    rip 0x10007, rflags 0x2",
    "    cr2  0x4000",
    "exits so far",
    "    1  #PF at 0x10007: write to 0x4000, not present at PTE",
  ]);
});
