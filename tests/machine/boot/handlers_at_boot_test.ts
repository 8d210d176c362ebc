import { asm, boot, type BootOptions } from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

const guest = asm`
  in  al, 0x60
  mov dx, 0x3f5
  out dx, al
  mov al, [0x9000]
  mov [0x9008], al
  hlt
`;

Deno.test("handlers stand beside the guest: by address, or in a list with ranges", () => {
  const written: unknown[] = [];
  using vm = boot(guest, {
    memory: "4K",
    ports: {
      0x60: { read: () => 0x1c },
      0x3f5: { write: (...access) => void written.push(access) },
    },
    mmio: [[[0x9000, 0x900f], {
      read: () => 0x77,
      write: (...access) => void written.push(access),
    }]],
  });
  vm.run();
  assertEquals(written, [[0x3f5, 0x1c, 1], [0x9008, 0x77, 1]]);
});

Deno.test("a map and an iterator of pairs are lists too", () => {
  const read = () => 0x1c;
  using vm = boot(
    asm`
    in al, 0x61
    hlt
  `,
    { ports: new Map([[[0x60, 0x63] as const, { read }]]) },
  );
  vm.run();
  assertEquals(vm.registers.al, 0x1c);
});

const refused: [options: BootOptions, message: string][] = [
  [{ ports: { 0x3f8: { read: () => 0 } } }, "COM1 has 0x3f8 to 0x3ff already"],
  [
    { ports: [[[1, 4], { read: () => 0 }], [4, { read: () => 0 }]] },
    "another handler has 0x1 to 0x4 already",
  ],
  [{ ports: { 0x10000: { read: () => 0 } } }, "they are not a range from 0 to 0xffff"],
  [{ ports: { com1: { read: () => 0 } } as never }, "it is no address"],
  [{ ports: { 0x60: undefined as never } }, "by undefined: it has neither read nor write"],
  [{ ports: { 0x60: (() => 0) as never } }, "by function: it has neither read nor write"],
  [{ ports: 0x60 as never }, "Cannot boot with ports 96: give handlers by address"],
  [{ mmio: { 0x9000: { read: () => 0 } } }, "RAM lies at 0x0–0xfffff"],
  [{ exitPort: 0x60, ports: { 0x60: { read: () => 0 } } }, "exit port has 0x60 to 0x60 already"],
];

Deno.test("what cannot be handled is told as vm.ports.on tells it, and nothing is left open", () => {
  const before = openHandles();
  for (const [options, message] of refused) {
    const error = assertThrows(() => boot(guest, options), Error, message);
    assertMatch(error.stack!.split("\n    at ")[1], /handlers_at_boot_test\.ts/);
  }
  assertEquals(openHandles(), before);
});
