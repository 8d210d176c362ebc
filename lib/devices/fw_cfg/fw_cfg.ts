import { PORT } from "../../x86/layout.ts";
import { hex } from "../../x86/hex.ts";
import type { Device, DeviceBoard, DeviceMemory } from "../device.ts";
import { dmaRead, dmaWrite } from "../dma.ts";
import { type LinuxKernel, linuxKernelItems } from "./linux_kernel.ts";

/**
 * Selector keys of items (QEMU, `include/standard-headers/linux/qemu_fw_cfg.h` and
 * `include/hw/nvram/fw_cfg_keys.h`).
 */
export const FW_CFG_KEY = {
  SIGNATURE: 0x00,
  ID: 0x01,
  UUID: 0x02,
  RAM_SIZE: 0x03,
  NOGRAPHIC: 0x04,
  NB_CPUS: 0x05,
  MACHINE_ID: 0x06,
  KERNEL_ADDR: 0x07,
  KERNEL_SIZE: 0x08,
  INITRD_ADDR: 0x0a,
  INITRD_SIZE: 0x0b,
  BOOT_DEVICE: 0x0c,
  NUMA: 0x0d,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_ADDR: 0x13,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  SETUP_ADDR: 0x16,
  SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
  FILE_DIR: 0x19,
  /** The first file; the others follow. */
  FILE_FIRST: 0x20,
} as const;

/** Bits of a selector that are no part of an item's key: "write", without a meaning since QEMU 2.4. */
const SELECTOR_WRITE = 0x4000;

const ID = { TRADITIONAL: 1 << 0, DMA: 1 << 1 } as const;

/** Bits of FWCfgDmaAccess.control (docs/specs/fw_cfg, "Guest-side DMA Interface"). */
const DMA = { ERROR: 1 << 0, READ: 1 << 1, SKIP: 1 << 2, SELECT: 1 << 3, WRITE: 1 << 4 } as const;

const DMA_SELECTOR_SHIFT = 16;

/** Size of FWCfgDmaAccess: control u32, length u32, address u64, all of them big-endian. */
const DMA_ACCESS_SIZE = 16;

/** Offsets from the selector's port. */
const PORTS = { DATA: 1, DMA_HIGH: 4, DMA_LOW: 8, DMA_END: 12 } as const;

/** What the DMA address register reads: "QEMU CFG". */
const DMA_SIGNATURE = new TextEncoder().encode("QEMU CFG");

/** Sizes in the file directory: FWCfgFile, and the name in it with its NUL. */
const FILE = { ENTRY_SIZE: 64, NAME_OFFSET: 8, NAME_SIZE: 56, COUNT_SIZE: 4 } as const;

/** How many files there can be: keys end before the bit for writing. */
const MAXIMUM_FILES = SELECTOR_WRITE - FW_CFG_KEY.FILE_FIRST;

const FOUR_GIB = 2 ** 32;

/** How many zeros are written at once behind an item's end. */
const PIECE = 1 << 16;

/** What an item holds: bytes, or text as UTF-8 without a terminator. */
export type FwCfgContent = string | Uint8Array;

/** A file that the guest may write to. */
export interface WritableFile {
  /** What it holds at first; its size stays. */
  readonly content: FwCfgContent;
  /** Whether the guest may write to it, by DMA. */
  readonly writable: boolean;
}

/** What a firmware configuration device is told. */
export interface FwCfgOptions {
  /** Files by name: `{ "opt/org.example/mode": "test" }`. A name has at most 55 ASCII characters. */
  readonly files?: Readonly<Record<string, FwCfgContent | WritableFile>>;
  /** Items by selector key, over what the other options make: `{ [FW_CFG_KEY.BOOT_MENU]: Uint8Array.of(1, 0) }`. */
  readonly items?: Readonly<Record<number, FwCfgContent>>;
  /** The size of RAM in bytes: RAM_SIZE. Default what the machine has, holes below 4 GiB counted. */
  readonly memory?: number;
  /** How many CPUs there are: NB_CPUS and MAX_CPUS. Default 1. */
  readonly cpus?: number;
  /** A Linux kernel (bzImage), with its command line and initial RAM disk, as QEMU gives it to firmware. */
  readonly linux?: LinuxKernel;
  /** Whether there is the DMA interface. Default true. */
  readonly dma?: boolean;
}

interface Item {
  bytes: Uint8Array<ArrayBuffer>;
  readonly writable: boolean;
}

interface State {
  readonly selector: number;
  readonly offset: number;
  readonly dmaHigh: number;
  readonly written: readonly (readonly [key: number, bytes: Uint8Array<ArrayBuffer>])[];
}

/**
 * QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg): named files and numbered items that firmware reads by
 * ports 0x510 and 0x511, or by DMA at 0x514. Reads behind the end of an item, or of an item that there is not, give
 * zeros; a DMA that meets a hole in memory ends with the error bit, having copied what lies before it.
 *
 * Left out: what QEMU makes of its own accord (ACPI tables, `etc/e820`, …), which the test gives as files; MMIO, by
 * which other architectures have it.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { FwCfg } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov dx, 0x510
 *   mov ax, 0x20        ; the first file
 *   out dx, ax
 *   inc dx
 *   in  al, dx
 *   hlt
 * `, { devices: [new FwCfg({ files: { "opt/org.example/letter": "x" } })] });
 * vm.run();
 * console.log(String.fromCharCode(vm.registers.al)); // x
 * ```
 */
export class FwCfg implements Device {
  /** The name in tables of exits. */
  readonly name = "fw_cfg";
  readonly #items = new Map<number, Item>();
  readonly #keys = new Map<string, number>();
  readonly #given: Readonly<Record<number, FwCfgContent>>;
  readonly #linux: LinuxKernel | undefined;
  readonly #hasDma: boolean;
  #memory!: DeviceMemory;
  #selector = 0;
  #offset = 0;
  #dmaHigh = 0;

  /**
   * A device with these items.
   *
   * @throws {RangeError} When a name is empty, not ASCII or too long, or a number does not fit.
   * @throws {TypeError} When the kernel is no bzImage.
   */
  constructor(options: FwCfgOptions = {}) {
    const { files = {}, items = {}, memory, cpus = 1, linux, dma = true } = options;
    this.#hasDma = dma;
    const set = (key: number, content: FwCfgContent) => this.#set(key, content);
    set(FW_CFG_KEY.SIGNATURE, "QEMU");
    set(FW_CFG_KEY.ID, little(ID.TRADITIONAL | (dma ? ID.DMA : 0), 4));
    set(FW_CFG_KEY.NB_CPUS, little(cpus, 2));
    set(FW_CFG_KEY.MAX_CPUS, little(cpus, 2));
    this.#addFiles(files);
    if (memory !== undefined) set(FW_CFG_KEY.RAM_SIZE, little(memory, 8));
    this.#given = items;
    this.#linux = linux;
    // What is no kernel is refused where it is given; where its disk goes is known when the memory is.
    if (linux !== undefined) linuxKernelItems({ ...linux, initrd: undefined }, 0);
    this.#addGiven();
  }

  #set(key: number, content: FwCfgContent): void {
    this.#items.set(key, { bytes: contentBytes(content), writable: false });
  }

  #addGiven(): void {
    for (const [key, content] of Object.entries(this.#given)) this.#set(Number(key), content);
  }

  #addLinux(linux: LinuxKernel, end: number): void {
    const { kernel, setup, initrd, commandLine } = linuxKernelItems(linux, end);
    this.#set(FW_CFG_KEY.KERNEL_ADDR, little(kernel.address, 4));
    this.#set(FW_CFG_KEY.KERNEL_SIZE, little(kernel.bytes.length, 4));
    this.#set(FW_CFG_KEY.KERNEL_DATA, kernel.bytes);
    this.#set(FW_CFG_KEY.SETUP_ADDR, little(setup.address, 4));
    this.#set(FW_CFG_KEY.SETUP_SIZE, little(setup.bytes.length, 4));
    this.#set(FW_CFG_KEY.SETUP_DATA, setup.bytes);
    this.#set(FW_CFG_KEY.CMDLINE_ADDR, little(commandLine.address, 4));
    this.#set(FW_CFG_KEY.CMDLINE_SIZE, little(commandLine.bytes.length, 4));
    this.#set(FW_CFG_KEY.CMDLINE_DATA, commandLine.bytes);
    if (initrd === undefined) return;
    this.#set(FW_CFG_KEY.INITRD_ADDR, little(initrd.address, 4));
    this.#set(FW_CFG_KEY.INITRD_SIZE, little(initrd.bytes.length, 4));
    this.#set(FW_CFG_KEY.INITRD_DATA, initrd.bytes);
  }

  #addFiles(files: Readonly<Record<string, FwCfgContent | WritableFile>>): void {
    // QEMU sorts them, too: a guest must not find another order because a test was written in another.
    const names = Object.keys(files).sort();
    if (names.length > MAXIMUM_FILES) {
      throw new RangeError(`Cannot make fw_cfg of ${names.length} files: it has ${MAXIMUM_FILES}`);
    }
    const directory = new Uint8Array(FILE.COUNT_SIZE + names.length * FILE.ENTRY_SIZE);
    const view = new DataView(directory.buffer);
    view.setUint32(0, names.length);
    names.forEach((name, index) => {
      checkName(name);
      const file = files[name];
      const isPlain = typeof file === "string" || file instanceof Uint8Array;
      const bytes = contentBytes(isPlain ? file : file.content);
      const key = FW_CFG_KEY.FILE_FIRST + index;
      const entry = FILE.COUNT_SIZE + index * FILE.ENTRY_SIZE;
      view.setUint32(entry, bytes.length);
      view.setUint16(entry + 4, key);
      directory.set(new TextEncoder().encode(name), entry + FILE.NAME_OFFSET);
      this.#items.set(key, { bytes, writable: !isPlain && file.writable });
      this.#keys.set(name, key);
    });
    this.#items.set(FW_CFG_KEY.FILE_DIR, { bytes: directory, writable: false });
  }

  /**
   * A copy of what a file holds, with what the guest has written to it.
   *
   * @throws {RangeError} When there is no such file.
   */
  file(name: string): Uint8Array<ArrayBuffer> {
    const key = this.#keys.get(name);
    if (key !== undefined) return this.#items.get(key)!.bytes.slice();
    const names = [...this.#keys.keys()].join(", ") || "none";
    throw new RangeError(`Cannot read the file ${name} of fw_cfg: its files are ${names}`);
  }

  /**
   * See {@linkcode Device.attach}.
   *
   * @throws {RangeError} When the initial RAM disk does not fit into memory.
   */
  attach({ ports, memory, ram }: DeviceBoard): void {
    this.#memory = memory;
    const low = ram.filter(({ gpa }) => gpa < FOUR_GIB);
    const end = Math.min(FOUR_GIB, Math.max(0, ...low.map(({ gpa, size }) => gpa + size)));
    if (!this.#items.has(FW_CFG_KEY.RAM_SIZE)) {
      const high = ram.filter((each) => !low.includes(each));
      const size = high.reduce((sum, { size }) => sum + size, end);
      this.#set(FW_CFG_KEY.RAM_SIZE, little(size, 8));
    }
    if (this.#linux !== undefined) this.#addLinux(this.#linux, end);
    this.#addGiven();
    const base = PORT.fwCfg;
    ports.on([base, base + PORTS.DATA], {
      name: this.name,
      read: (_port, size) => size === 1 ? this.#next() : 0,
      write: (port, value, size) => {
        if (size === 2 && port === base) this.#select(value);
      },
    });
    if (!this.#hasDma) return;
    ports.on([base + PORTS.DMA_HIGH, base + PORTS.DMA_END - 1], {
      name: `${this.name} DMA`,
      read: (port, size) => signaturePart(port - base - PORTS.DMA_HIGH, size),
      write: (port, value, size) => {
        // Other widths and offsets QEMU does not accept (`fw_cfg_dma_mem_valid`).
        if (size !== 4) return;
        const half = bigEndian(value);
        if (port === base + PORTS.DMA_HIGH) this.#dmaHigh = half;
        else if (port === base + PORTS.DMA_LOW) this.#transfer(half);
      },
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#select(FW_CFG_KEY.SIGNATURE);
    this.#dmaHigh = 0;
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    const written = [...this.#items].filter(([, { writable }]) => writable)
      .map(([key, { bytes }]) => [key, bytes.slice()] as const);
    return {
      selector: this.#selector,
      offset: this.#offset,
      dmaHigh: this.#dmaHigh,
      written,
    } satisfies State;
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { selector, offset, dmaHigh, written } = state as State;
    this.#selector = selector;
    this.#offset = offset;
    this.#dmaHigh = dmaHigh;
    for (const [key, bytes] of written) this.#items.get(key)!.bytes = bytes.slice();
  }

  #select(selector: number): void {
    this.#selector = selector & ~SELECTOR_WRITE;
    this.#offset = 0;
  }

  #next(): number {
    const bytes = this.#items.get(this.#selector)?.bytes;
    if (bytes === undefined || this.#offset >= bytes.length) return 0;
    return bytes[this.#offset++];
  }

  #transfer(low: number): void {
    const access = this.#dmaHigh * 2 ** 32 + low;
    this.#dmaHigh = 0;
    const bytes = dmaRead(this.#memory, access, DMA_ACCESS_SIZE);
    // Where the structure itself lies in a hole, the error bit has no place to go to.
    if (bytes === undefined) return;
    const view = new DataView(bytes.buffer);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const address = view.getBigUint64(8);
    if ((control & DMA.SELECT) !== 0) this.#select(control >>> DMA_SELECTOR_SHIFT);
    const isDone = (control & DMA.READ) !== 0
      ? this.#copyOut(address, length)
      : (control & DMA.WRITE) !== 0
      ? this.#copyIn(address, length)
      : (control & DMA.SKIP) === 0 || this.#skip(length);
    view.setUint32(0, isDone ? 0 : DMA.ERROR);
    dmaWrite(this.#memory, access, bytes.subarray(0, 4));
  }

  #copyOut(address: bigint, length: number): boolean {
    const bytes = this.#items.get(this.#selector)?.bytes ?? new Uint8Array();
    for (let done = 0; done < length;) {
      const size = Math.min(PIECE, length - done);
      const piece = new Uint8Array(size);
      piece.set(bytes.subarray(this.#offset, this.#offset + size));
      if (!dmaWrite(this.#memory, address + BigInt(done), piece)) return false;
      this.#skip(size);
      done += size;
    }
    return true;
  }

  #copyIn(address: bigint, length: number): boolean {
    const item = this.#items.get(this.#selector);
    if (item === undefined || !item.writable) return false;
    if (length > item.bytes.length - this.#offset) return false;
    const bytes = dmaRead(this.#memory, address, length);
    if (bytes === undefined) return false;
    item.bytes.set(bytes, this.#offset);
    return this.#skip(length);
  }

  #skip(length: number): true {
    const end = this.#items.get(this.#selector)?.bytes.length ?? 0;
    this.#offset = Math.min(this.#offset + length, end);
    return true;
  }
}

function signaturePart(offset: number, size: number): number {
  let value = 0;
  for (let index = 0; index < size; index++) {
    value += (DMA_SIGNATURE[offset + index] ?? 0) * 2 ** (8 * index);
  }
  return value;
}

function bigEndian(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return view.getUint32(0);
}

function little(value: number, size: 2 | 4 | 8): Uint8Array<ArrayBuffer> {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
    throw new RangeError(
      `Cannot make an item of fw_cfg of ${value}: it is not a whole number of ${8 * size} bits`,
    );
  }
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return new Uint8Array(view.buffer, 0, size);
}

function contentBytes(content: FwCfgContent): Uint8Array<ArrayBuffer> {
  return typeof content === "string" ? new TextEncoder().encode(content) : content.slice();
}

function checkName(name: string): void {
  const last = FILE.NAME_SIZE - 1;
  if (name.length >= 1 && name.length <= last && /^[\x20-\x7e]+$/.test(name)) return;
  throw new RangeError(
    `Cannot name a file of fw_cfg ${
      JSON.stringify(name)
    }: a name has 1 to ${last} characters of ASCII, from ${hex(0x20)} to ${hex(0x7e)}`,
  );
}
