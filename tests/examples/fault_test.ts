import { asm, boot, expect, hlt } from "@vmexit/vmexit";

// The guard page below a stack is not mapped: the overflow is to be a page fault there, and nowhere else.
Deno.test("a stack that overflows faults at its guard page", () => {
  using vm = boot(
    asm`
      bits 64
      mov rsp, 0x21010
    deeper:
      push rax
      jmp deeper
    recovered:
      hlt
    `,
    {
      mode: "long",
      catchFaults: true,
      mappings: [{ linear: 0x2_0000, size: 0x1000, present: false }],
    },
  );

  expect(vm).toFault("#PF", { errorCode: 0x2, cr2: 0x2_0ff8, rip: "deeper" });

  vm.registers.rip = "recovered";
  expect(vm).toExit([hlt()]);
});
