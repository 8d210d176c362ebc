import { boot, type BootOptions, expect, hlt, Image, portOut } from "@vmexit/vmexit";
import { acpiTables } from "@vmexit/vmexit/devices";
import { assertThrows } from "@std/assert";
import { AT_1_MIB, linked } from "./linked.ts";

const dwords = (...values: number[]) => values.map((value) => portOut(0x10, value, 4));

/** Shows the boot device, the RSDP and the load base, as dwords behind their types. */
const TOLD_BODY = `
_start:
  mov esp, stack
  mov edx, 0x10
  lea edi, [ebx + 8]
.tag:
  mov eax, [edi]
  mov ecx, [edi + 4]
  test eax, eax
  jz .end
  cmp eax, 5
  je .show
  cmp eax, 14
  je .show
  cmp eax, 15
  je .show
  cmp eax, 21
  jne .next
.show:
  out dx, eax
  lea esi, [edi + 8]
  push ecx
  sub ecx, 8
  shr ecx, 2
  rep outsd
  pop ecx
.next:
  add ecx, 7
  and ecx, ~7
  add edi, ecx
  jmp .tag
.end:
  hlt
  section .bss
  resb 256
stack:
`;

/** A relocatable kernel whose header requires tags. */
function requiring(types: readonly number[], tag = "0x100000, 0x1fffff, 0x1000, 1"): Image {
  const header = `
    bits 32
    section .header
    align 8
  header:
    dd 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
    dw 1, 0
    dd 8 + 4 * ${types.length}, ${types.join(", ")}
    align 8
    dw 10, 0
    dd 24, ${tag}
    dw 0, 0
    dd 8
  header_end:
    section .text
    global _start
  `;
  return Image.fromFile(linked(header + TOLD_BODY, { format: "elf32", script: AT_1_MIB }));
}

Deno.test("a multiboot 2 kernel is told of its boot device, its load base and a copy of the RSDP", () => {
  const rsdp = acpiTables().subarray(0, 36);
  const words = (bytes: Uint8Array) => [...new Uint32Array(bytes.slice().buffer)];
  const told = (kernel: BootOptions["kernel"], required: number[], ...shown: number[]) => {
    using vm = boot(requiring(required), { kernel });
    expect(vm).toExit([...dwords(...shown, 21, 0x10_0000), hlt()]);
  };
  const bootDevice = { drive: 0x80, partition: 1 };
  told({ bootDevice, rsdp }, [5, 15, 21], 5, 0x80, 1, 0xffff_ffff, 15, ...words(rsdp));
  told({ bootDevice: { drive: 0 } }, [5], 5, 0, 0xffff_ffff, 0xffff_ffff);
  const old = rsdp.slice();
  old[15] = 0;
  told({ rsdp: old }, [14], 14, ...words(old.slice(0, 20)));
  told({}, [4, 6, 9]);
});

Deno.test("a multiboot 2 kernel that requires what it would not get is refused by the tag's name", () => {
  const boots = (types: number[], kernel: BootOptions["kernel"]) => () =>
    void boot(requiring(types), { kernel });
  const rsdp = acpiTables().subarray(0, 36);
  const REFUSED: [types: number[], kernel: BootOptions["kernel"], message: string][] = [
    [[5], {}, "requires the BIOS boot device (tag 5), and there is none; give the option kernel"],
    [[14], { rsdp }, "requires the ACPI old RSDP (tag 14)"],
    [
      [15],
      {},
      "requires the ACPI new RSDP (tag 15), and there is none; give the option kernel.rsdp",
    ],
    [[4], { rsdp: rsdp.subarray(0, 20) }, "an RSDP of 20 bytes"],
    [[4], { rsdp: new Uint8Array(36) }, "it begins with"],
    [[4], { bootDevice: { drive: 256 } }, "kernel.bootDevice.drive 256"],
  ];
  for (const [types, kernel, message] of REFUSED) {
    assertThrows(boots(types, kernel), RangeError, message);
  }
  assertThrows(boots([4], { rsdp: 0xe_0000 }), TypeError, "takes the structure");
});

Deno.test("a relocatable multiboot 2 kernel lies where its header allows, or is refused by the field's name", () => {
  assertThrows(() => requiring([4], "0x100008, 0x1fffff, 8, 1"), RangeError, "`min_addr`");
  assertThrows(() => requiring([4], "0x100000, 0x100010, 8, 1"), RangeError, "`max_addr`");
  assertThrows(() => requiring([4], "0, 0x1fffff, 0x200000, 1"), RangeError, "`align`");
});

Deno.test("a multiboot kernel is told of its boot device", () => {
  const body = `
    bits 32
    section .header
    align 4
    dd 0x1badb002, 0, -0x1badb002
    section .text
    global _start
  _start:
    mov edx, 0x10
    mov eax, [ebx]
    and eax, 2
    out dx, eax
    mov eax, [ebx + 12]         ; boot_device
    out dx, eax
    hlt
  `;
  const image = Image.fromFile(linked(body, { format: "elf32", script: AT_1_MIB }));
  const told = (kernel: BootOptions["kernel"], ...shown: number[]) => {
    using vm = boot(image, { kernel });
    expect(vm).toExit([...dwords(...shown), hlt()]);
  };
  told({ bootDevice: { drive: 0x81, partition: 2 } }, 2, 0x8102_ffff);
  told({ bootDevice: { drive: 0 } }, 2, 0x00ff_ffff);
  told({}, 0, 0);
});
