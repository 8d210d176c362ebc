import { PciBus } from "../../devices/pci/pci_bus.ts";
import { PciFunction } from "../../devices/pci/pci_function.ts";
import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { Machine } from "../../machine/machine.ts";
import type { Benchmark } from "../benchmark.ts";
import {
  countsNotified,
  type GuestBenchmark,
  guestBenchmark,
  type RunHooks,
} from "./guest_benchmark.ts";

/** Where the guest puts the function's registers: in memory inside the identity map, and in ports. */
const MEMORY = 0x1000_0000;
const PORTS = 0xc000;
const MEMORY_SIZE = 0x1000;
const PORTS_SIZE = 0x20;

/** The configuration space of device 1 by mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2). */
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const DEVICE_1 = 0x8000_0800;
const BAR_0 = DEVICE_1 | 0x10;
const BAR_1 = DEVICE_1 | 0x14;

/** What is written; an eventfd may ask for it. */
const VALUE = 5;

/** A write to a PCI function with two BARs, which has its value in its register, or an eventfd that takes it. */
function pciWrite(
  kind: "mem" | "io",
  doorbell:
    | { readonly name: string; readonly what: string; readonly datamatch?: number }
    | undefined,
): GuestBenchmark {
  const place = kind === "mem" ? "a PCI function's memory" : "a PCI function's ports";
  let writes = 0;
  const write = (_offset: number, value: number | bigint) => {
    if (value !== VALUE) throw new Error(`The PCI function was given ${value} instead of ${VALUE}`);
    writes++;
  };
  return {
    name: doorbell === undefined ? `pci-${kind}` : `pci-${kind}_${doorbell.name}`,
    what: `a write of 4 bytes to ${place}, ${doorbell?.what ?? "in user space"}`,
    needs: doorbell === undefined ? {} : { ioeventfd: true },
    exits: 1,
    userExits: doorbell === undefined ? 1 : 0,
    guest: () => ({
      setup: asm`
        ${configure(BAR_0, MEMORY)}
        ${configure(BAR_1, PORTS)}
      `,
      load: asm`
        mov eax, ${VALUE}
        mov ebx, ${MEMORY}
        mov edx, ${PORTS}
      `,
      operation: kind === "mem" ? asm`mov [rbx], eax` : asm`out dx, eax`,
      options: {
        devices: [
          new PciBus([
            new PciFunction({
              name: "test device",
              vendorId: 0x1b36, // Red Hat's, whose test device it is like
              deviceId: 0x0005,
              classCode: 0xff0000,
              bars: [
                { type: "memory32", size: MEMORY_SIZE, read: () => 0, write },
                { type: "io", size: PORTS_SIZE, read: () => 0, write },
              ],
            }),
          ]),
        ],
      },
    }),
    attach(vm: Machine): RunHooks {
      if (doorbell !== undefined) {
        const options = { length: 4, datamatch: doorbell.datamatch } as const;
        return countsNotified(
          kind === "mem" ? vm.mmio.notify(MEMORY, options) : vm.ports.notify(PORTS, options),
        );
      }
      return {
        before: () => void (writes = 0),
        after(operations) {
          if (writes === operations) return;
          throw new Error(`The PCI function was given ${writes} writes of ${operations}`);
        },
      };
    },
  };
}

/** Writes a register of the configuration space. */
function configure(register: number, value: number): AsmSource {
  return asm`
    mov edx, ${CONFIG_ADDRESS}
    mov eax, ${register >>> 0}
    out dx, eax
    mov edx, ${CONFIG_DATA}
    mov eax, ${value}
    out dx, eax
  `;
}

const DOORBELLS = [
  undefined,
  { name: "wildcard_ioeventfd", what: "taken by an eventfd for any value" },
  { name: "datamatch_ioeventfd", what: "taken by an eventfd for this value", datamatch: VALUE },
] as const;

/** Writes to a PCI function, with and without an eventfd. */
export const pciWrites: readonly Benchmark[] = (["mem", "io"] as const).flatMap((kind) =>
  DOORBELLS.map((doorbell) => guestBenchmark(pciWrite(kind, doorbell)))
);
