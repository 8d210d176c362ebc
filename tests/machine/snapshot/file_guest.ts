import { asm, boot, type BootOptions, type Machine } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";

const GUEST = asm`
    bits 32
    mov ecx, 5
    fninit
    fldpi
  again:
    inc dword [0x20000]
    fadd st0, st0
    mov al, [0x20000]
    out 0x80, al
    in al, 0x81
    add al, '0'
    mov dx, 0x3f8
    out dx, al
    loop again
    ud2
`;

/** A machine with something of everything, whose guest talks to it and ends in a fault. */
export function start(options: BootOptions = {}): Machine {
  let state = 0;
  const vm = boot(GUEST, {
    mode: "protected",
    catchFaults: true,
    clock: new TestClock(),
    devices: [new Pic(), new Pit()],
    ...options,
  } as BootOptions);
  vm.ports.on([0x80, 0x81], {
    read: () => ++state,
    write: () => {},
    save: () => state,
    restore: (saved) => void (state = saved as number),
  });
  return vm;
}
