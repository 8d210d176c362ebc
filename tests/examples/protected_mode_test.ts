import { asm, boot, expect } from "@vmexit/vmexit";

// The guest starts in real mode and brings its own GDT: what a loader does first.
Deno.test("the loader enters protected mode with flat segments", () => {
  using vm = boot(
    asm`
      bits 16
      cli
      lgdt [gdtr]
      mov eax, cr0
      or  al, 1
      mov cr0, eax
      jmp 8:protected

      bits 32
    protected:
      mov ax, 16
      mov ds, ax
      mov dword [0x20000], 0x12345678     ; beyond the reach of a real-mode offset
      hlt

      align 8
    gdt:
      dq 0
      dq 0x00cf9a000000ffff               ; code, 4 GiB
      dq 0x00cf92000000ffff               ; data, 4 GiB
    gdtr:
      dw gdtr - gdt - 1
      dd gdt
    `,
    { mode: "real" },
  );

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHaveRegisters({ "cr0.pe": true, cs: 8, ds: 16, "cs.db": 1, "ds.limit": 0xffffffff });
  expect(vm).toHaveMemory(0x20000, [0x78, 0x56, 0x34, 0x12]);
});
