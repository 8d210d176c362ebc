import { asm, boot, expect, type PortHandler } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

/** A device with an index and a data port, as CMOS has them. */
class Registers implements PortHandler {
  readonly name = "registers";
  readonly values = new Uint8Array(16);
  #index = 0;

  read(port: number): number {
    return port === 0x70 ? this.#index : this.values[this.#index];
  }

  write(port: number, value: number): void {
    if (port === 0x70) this.#index = value & 0xf;
    else this.values[this.#index] = value;
  }
}

Deno.test("the guest copies register 2 to register 5", () => {
  const device = new Registers();
  device.values[2] = 0x5a;
  using vm = boot(asm`
    mov al, 2
    out 0x70, al
    in  al, 0x71
    mov ah, al
    mov al, 5
    out 0x70, al
    mov al, ah
    out 0x71, al
    hlt
  `);
  vm.ports.on([0x70, 0x71], device);

  vm.run();

  expect(vm).toBeHalted();
  assertEquals(device.values[5], 0x5a);
});
