import { asm, boot, type Machine, requires } from "@vmexit/vmexit";
import { Flash, SystemControlPort } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { type Postmortem, postmortemOf } from "../../../lib/machine/report/postmortem.ts";

const STEPS = { singleStep: true } as const;

/** What a repeated run has shown of a machine whose guest has shut down. */
function found(vm: Machine): Postmortem {
  vm.run({ until: "shutdown" });
  const result = postmortemOf(vm)!;
  assert("cpu" in result, "obstacle" in result ? result.obstacle : undefined);
  return result;
}

const registersOf = ({ incident: { registers: { rax, rbx, rcx, rdx } } }: Postmortem) => [
  rax,
  rbx,
  rcx,
  rdx,
];

Deno.test(
  requires(STEPS, "slots that were added, moved and deleted are there in the repeated run"),
  () => {
    using vm = boot(asm`
    bits 32
    mov eax, [0x1000000]      ; what it was added with
    mov dword [0x1000004], 7
    out 0x80, al              ; the handler moves it
    mov ebx, [0x2000000]
    mov ecx, [0x2000004]
    out 0x81, al              ; and deletes it, and adds another
    mov edx, [0x1000000]
    lidt [zero]
    ud2
  zero: dq 0
  `);
    let slot = vm.memory.addSlot({
      gpa: 0x100_0000,
      size: "4K",
      content: Uint8Array.of(0x11, 0x22, 0x33, 0x44),
    });
    vm.ports.on(0x80, {
      write() {
        slot = vm.memory.moveSlot(slot, 0x200_0000);
        vm.memory.write(0x200_0000, [0x55]);
      },
    });
    vm.ports.on(0x81, {
      write() {
        vm.memory.deleteSlot(slot);
        vm.memory.addSlot({ gpa: 0x100_0000, size: "8K", readonly: true });
        vm.memory.write(0x100_0000, [0x99]);
      },
    });
    const result = found(vm);
    assertEquals(registersOf(result), [0x44332211n, 0x44332255n, 7n, 0x99n]);
    assertEquals(result.incident.read(0x200_0000, 1), undefined);
    assertEquals(result.doubt, undefined);
  },
);

Deno.test(requires(STEPS, "memory of a device is there, as long as it was shown"), () => {
  const content = new Uint8Array(0x1_0000).fill(0xff);
  content.set([0x12, 0x34], 0x100);
  using vm = boot(
    asm`
      bits 32
      mov esi, 0xffff0000
      mov al, [esi + 0x100]
      mov byte [esi + 0x200], 0x40      ; program: the array does not show meanwhile
      mov byte [esi + 0x200], 0x77
      mov bl, [esi + 0x200]             ; the status
      mov byte [esi + 0x200], 0xff      ; it shows again
      mov cl, [esi + 0x200]
      mov dl, [esi + 0x101]
      lidt [zero]
      ud2
    zero: dq 0
    `,
    { devices: [new Flash({ content })] },
  );
  assertEquals(registersOf(found(vm)), [0x12n, 0x80n, 0x77n, 0x34n]);
});

Deno.test(requires(STEPS, "the A20 gate is closed and opened in the repeated run, too"), () => {
  using vm = boot(
    asm`
      bits 32
      mov byte [0x90000], 1
      mov byte [0x190000], 2            ; the same byte
      mov al, [0x90000]
      in  al, 0x92
      or  al, 2
      out 0x92, al
      mov byte [0x190000], 3
      mov bl, [0x90000]
      mov cl, [0x190000]
      lidt [zero]
      ud2
    zero: dq 0
    `,
    { memory: "4M", devices: [new SystemControlPort({ a20: false })] },
  );
  assertEquals(registersOf(found(vm)), [2n, 2n, 3n, 0n]);
});
