import { asm, boot, expect, generalProtection, hlt, rdmsr, requires } from "@vmexit/vmexit";

const guest = asm`
  bits 64
  mov ecx, 0xc0000082       ; LSTAR
  rdmsr
  hlt
`;

Deno.test(
  requires({ x86UserSpaceMsr: true, x86MsrFilter: true }, "a transcript answers an MSR"),
  () => {
    using vm = boot(guest);
    vm.msrs.intercept("LSTAR");

    expect(vm).toExit([rdmsr("LSTAR").returns(0x1234_5678_9abc_def0n), hlt()]);
    expect(vm).toHaveRegisters({ rdx: 0x1234_5678, rax: 0x9abc_def0 });
  },
);

Deno.test(
  requires({ x86UserSpaceMsr: true, x86MsrFilter: true }, "an MSR that is refused is a #GP"),
  () => {
    using vm = boot(guest, { catchFaults: true });
    vm.msrs.on("LSTAR", { read: () => generalProtection });

    expect(vm).toFault("#GP", { errorCode: 0 });
  },
);
