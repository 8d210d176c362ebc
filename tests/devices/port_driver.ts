import { asm, boot, type BootOptions, type Machine } from "@vmexit/vmexit";
import { type Device, TestClock } from "@vmexit/vmexit/devices";

const ROUTINES = asm`
  bits 32
  hlt
  in8:   in al, dx
         ret
  in16:  in ax, dx
         ret
  in32:  in eax, dx
         ret
  out8:  out dx, al
         ret
  out16: out dx, ax
         ret
  out32: out dx, eax
         ret
  load32:  mov eax, [edx]
           ret
  store32: mov [edx], eax
           ret
  load64:  movq mm0, [edx]
           movq [0x8000], mm0
           ret
  store64: movq mm0, [0x8000]
           movq [edx], mm0
           ret
  load8:   mov al, [edx]
           ret
  store8:  mov [edx], al
           ret
`;

/** What a driver does to devices, each access an instruction of a guest's. */
export class PortDriver implements Disposable {
  readonly vm: Machine;
  readonly clock: TestClock;

  /** A guest that stands still, on a board with these devices. By its clock an exit takes no time. */
  constructor(
    devices: readonly Device[],
    { clock = new TestClock({ perExit: 0 }), ...options }: { clock?: TestClock } & BootOptions = {},
  ) {
    this.clock = clock;
    this.vm = boot(ROUTINES, { clock, devices, serial: false, ...options } as BootOptions);
  }

  /** Reads a port. */
  in(port: number, size: 1 | 2 | 4 = 1): number {
    const bits = 8 * size;
    return Number(BigInt.asUintN(bits, this.vm.call(`in${bits}`, { edx: port, eax: 0 })));
  }

  /** Writes to a port. */
  out(port: number, value: number, size: 1 | 2 | 4 = 1): void {
    this.vm.call(`out${8 * size}`, { edx: port, eax: value });
  }

  /** Writes bytes to ports, one after the other. */
  outs(...writes: readonly (readonly [port: number, value: number])[]): void {
    for (const [port, value] of writes) this.out(port, value);
  }

  /** Reads memory. */
  load(address: number): number {
    return Number(BigInt.asUintN(32, this.vm.call("load32", { edx: address })));
  }

  /** Writes to memory. */
  store(address: number, value: number): void {
    this.vm.call("store32", { edx: address, eax: value >>> 0 });
  }

  /** Ends the machine. */
  [Symbol.dispose](): void {
    this.vm[Symbol.dispose]();
  }
}
