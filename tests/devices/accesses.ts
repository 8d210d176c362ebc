import { asm, boot, type BootOptions, type Machine } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

/** Where the list of accesses lies, with their number in the doubleword before it. */
export const TABLE = 0x10_0000;

/** An access is 12 bytes: what, where, and the value of a write; what EAX is after it takes the value's place. */
export const ACCESS_SIZE = 12;

const GUEST = asm`
  bits 32
  mov esi, 0x100000
  mov ebp, [esi - 4]
next:
  mov ebx, [esi]
  mov edx, [esi + 4]
  mov eax, [esi + 8]
  jmp [operations + ebx * 4]
done:
  mov [esi + 8], eax
  add esi, 12
  dec ebp
  jnz next
  hlt
  align 4
operations:
  dd in8, in16, in32, out8, out16, out32, read8, read16, read32, write8, write16, write32
  dd ins8, ins16, ins32
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
ins8:    mov ecx, eax
  mov edi, SINK
  rep insb
  jmp done
ins16:   mov ecx, eax
  mov edi, SINK
  rep insw
  jmp done
ins32:   mov ecx, eax
  mov edi, SINK
  rep insd
  jmp done
  SINK equ 0x2ff000
`;

/** How many kinds of access ports have, and memory as many behind them. */
export const OPERATIONS = 6;

/** The first of the operations that read a port many times, by one instruction and so by one exit. */
export const REPEATED_INPUTS = 2 * OPERATIONS;

/** How often the widest of them may read: the words fill the page behind 0x2ff000. */
export const MOST_REPEATED = 1024;

/** What the guest does: the number of the operation, the port or address, and the value of a write, or how often. */
export type Access = readonly [operation: number, address: number, value: number];

/** Accesses to ports and to memory, by their width in bits. */
export const in8 = (port: number): Access => [0, port, 0];
export const in16 = (port: number): Access => [1, port, 0];
export const in32 = (port: number): Access => [2, port, 0];
export const out8 = (port: number, value: number): Access => [3, port, value];
export const out16 = (port: number, value: number): Access => [4, port, value];
export const out32 = (port: number, value: number): Access => [5, port, value];
export const read8 = (address: number): Access => [6, address, 0];
export const read16 = (address: number): Access => [7, address, 0];
export const read32 = (address: number): Access => [8, address, 0];
export const write8 = (address: number, value: number): Access => [9, address, value];
export const write16 = (address: number, value: number): Access => [10, address, value];
export const write32 = (address: number, value: number): Access => [11, address, value];

/** A machine whose guest makes the accesses that {@linkcode perform} puts into its memory. */
export function bootAccesses(options: BootOptions): Machine {
  return boot(GUEST, { memory: "4M", ...options } as BootOptions);
}

/** Lets the guest make accesses, and gives what each read: of a write, its value. */
export function perform(vm: Machine, accesses: readonly Access[]): number[] {
  const table = new Uint32Array(1 + accesses.length * 3);
  table[0] = accesses.length;
  accesses.forEach((access, index) => table.set(access, 1 + index * 3));
  vm.memory.write(TABLE - 4, new Uint8Array(table.buffer));
  vm.registers.set({ eip: Number(vm.image.origin) });
  vm.run();
  // All of them were made, or the guest has gone astray.
  assertEquals(vm.registers.esi, TABLE + accesses.length * ACCESS_SIZE);
  const after = vm.memory.read(TABLE, accesses.length * ACCESS_SIZE);
  const words = new Uint32Array(after.buffer);
  return accesses.map((_, index) => words[index * 3 + 2]);
}
