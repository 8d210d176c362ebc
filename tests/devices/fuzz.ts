import { asm, boot, type BootOptions } from "@vmexit/vmexit";
import type { AddressRange, Device, DeviceBoard, DeviceMemory } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import fc from "fast-check";

/** Memory that devices may read and write by DMA. The rest is the guest's code and its table, which stay whole. */
export const FUZZ_SCRATCH = { start: 0x30_0000, size: 0x10_0000 } as const;

const TABLE = 0x10_0000;
const MEMORY = FUZZ_SCRATCH.start + FUZZ_SCRATCH.size;

/** Accesses of a machine, and how many machines do them: 100,000 together. */
const ACCESSES = 10_000;
const MACHINES = 10;

/** An access is 12 bytes: what, where, and the value of a write. */
const GUEST = asm`
  bits 32
  mov esi, 0x100000
  mov ecx, [esi - 4]
next:
  mov ebx, [esi]
  mov edx, [esi + 4]
  mov eax, [esi + 8]
  jmp [operations + ebx * 4]
done:
  add esi, 12
  dec ecx
  jnz next
  hlt
  align 4
operations:
  dd in8, in16, in32, out8, out16, out32, read8, read16, read32, write8, write16, write32
in8:     in al, dx
  jmp done
in16:    in ax, dx
  jmp done
in32:    in eax, dx
  jmp done
out8:    out dx, al
  jmp done
out16:   out dx, ax
  jmp done
out32:   out dx, eax
  jmp done
read8:   mov al, [edx]
  jmp done
read16:  mov ax, [edx]
  jmp done
read32:  mov eax, [edx]
  jmp done
write8:  mov [edx], al
  jmp done
write16: mov [edx], ax
  jmp done
write32: mov [edx], eax
  jmp done
`;

const PORT_OPERATIONS = 6;

/** What is fuzzed, and with what. */
export interface Fuzz {
  /** Makes the devices, for each machine anew. */
  readonly devices: () => readonly Device[];
  /** The ports to access, and those around them that the devices must not take. */
  readonly ports?: readonly AddressRange[];
  /** The physical addresses to access. */
  readonly mmio?: readonly AddressRange[];
  /** Values that get a guest further than random ones do: magic numbers, keys, addresses. */
  readonly values?: readonly number[];
  /** What else the machine is booted with. */
  readonly options?: BootOptions;
  /** Puts something into the scratch memory: rings, descriptors. Called before the guest runs. */
  readonly prepare?: (memory: DeviceMemory) => void;
}

/**
 * Lets guests make 100,000 random accesses to devices: none may throw, hang, or leave the machine unusable. What fails
 * is reported by fast-check with its seed.
 */
export function fuzz(
  { devices, ports = [], mmio = [], values = [], options, prepare }: Fuzz,
): void {
  const targets = [
    ...ports.map((range) => accesses(range, 0, values)),
    ...mmio.map((range) => accesses(range, PORT_OPERATIONS, values)),
  ];
  const all = fc.array(fc.oneof(...targets), {
    minLength: ACCESSES,
    maxLength: ACCESSES,
    size: "max",
  });
  fc.assert(
    fc.property(all, (accesses) => {
      const table = new Uint32Array(1 + accesses.length * 3);
      table[0] = accesses.length;
      accesses.forEach((access, index) => table.set(access, 1 + index * 3));
      using vm = boot(GUEST, {
        unclaimed: "open-bus",
        timeout: 60_000,
        ...options,
        memory: MEMORY,
        devices: devices().map(limited),
      } as BootOptions);
      vm.memory.write(TABLE - 4, new Uint8Array(table.buffer));
      prepare?.(vm.memory);
      vm.run();
      assertEquals(vm.registers.esi, TABLE + accesses.length * 12);
      // Once more, from the state in which they have left it.
      vm.memory.setU32(TABLE - 4, 100);
      vm.registers.set({ eip: vm.image.origin });
      vm.run();
      assertEquals(vm.registers.esi, TABLE + 100 * 12);
    }),
    { numRuns: MACHINES, endOnFailure: true },
  );
}

/** Accesses of every width to a range: operation, address, value. */
function accesses(range: AddressRange, operation: number, values: readonly number[]) {
  const [first, last] = typeof range === "number" ? [range, range] : range;
  const scratch = { min: FUZZ_SCRATCH.start, max: MEMORY - 1 };
  return fc.tuple(
    fc.integer({ min: operation, max: operation + PORT_OPERATIONS - 1 }),
    fc.integer({ min: first, max: last }),
    fc.oneof(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.integer({ min: 0, max: 0xff }),
      fc.integer(scratch),
      ...values.length > 0 ? [fc.constantFrom(...values)] : [],
    ),
  );
}

/** A device that reaches the scratch memory alone. */
function limited(device: Device): Device {
  const { start, size } = FUZZ_SCRATCH;
  const check = (gpa: number, length: number) => {
    if (gpa < start || gpa + length > start + size) throw new RangeError("not the scratch memory");
  };
  return {
    name: device.name,
    attach: (board: DeviceBoard) =>
      device.attach({
        ports: board.ports,
        mmio: board.mmio,
        timers: board.timers,
        get linear() {
          return board.linear;
        },
        memory: {
          read: (gpa, length) => (check(gpa, length), board.memory.read(gpa, length)),
          write: (gpa, bytes) => (check(gpa, bytes.length), board.memory.write(gpa, bytes)),
        },
        interruptLine: (irq) => board.interruptLine(irq),
        signalMsi: (address, data) => board.signalMsi(address, data),
        connectInterruptController: (controller) => board.connectInterruptController(controller),
        reset: () => board.reset(),
        powerOff: () => board.powerOff(),
      }),
    reset: () => device.reset?.(),
    save: () => device.save?.(),
    restore: (state) => device.restore?.(state),
  };
}
