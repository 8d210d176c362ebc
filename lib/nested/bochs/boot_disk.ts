import { assemble } from "../assemble.ts";
import type { ImageMaking } from "../nested_machine.ts";
import { EMULATED_KERNEL_OPTIONS } from "../../kvm/remote/qemu_arguments.ts";
import { NestedError } from "../nested_error.ts";

/** The disk that the machine boots from, in the run's folder. Once it has booted, it does not read it again. */
export const BOOT_DISK = "boot.img";

/** The same for all, because a restored machine must find the disk as big as it was. The file is sparse. */
const BOOT_DISK_SIZE = 512 * 2 ** 20;

function sectors(bytes: Uint8Array): number {
  return Math.ceil(bytes.length / SECTOR);
}

/** Makes the disk as an empty file, for a machine that has booted. */
export async function createEmptyBootDisk(run: string): Promise<void> {
  using file = await Deno.create(`${run}/${BOOT_DISK}`);
  await file.truncate(BOOT_DISK_SIZE);
}

/**
 * Makes the disk with its boot sector, kernel and first root file system.
 *
 * @param run The run's folder.
 * @param making What the image is made with.
 * @param memory Bytes of the machine's memory.
 * @throws {NestedError} When the kernel is none, or does not fit.
 */
export async function createBootDisk(
  run: string,
  making: ImageMaking,
  memory: number,
): Promise<void> {
  const { parts, initramfs, nasm } = making;
  const image = await Deno.readFile(parts.vmlinuz);
  const { parameters, kernel } = loadKernel(
    image,
    EMULATED_KERNEL_OPTIONS,
    memory,
    initramfs.length,
  );
  const bootSector = await assemble(nasm, "boot_sector", BOOT_SECTOR, {
    PARAMETERS_SECTORS: sectors(parameters),
    KERNEL_SECTORS: sectors(kernel),
    INITRAMFS_SECTORS: sectors(initramfs),
  });
  await createEmptyBootDisk(run);
  using file = await Deno.open(`${run}/${BOOT_DISK}`, { write: true });
  let sector = 0;
  for (const piece of [bootSector, parameters, kernel, initramfs]) {
    await file.seek(sector * SECTOR, Deno.SeekMode.Start);
    for (let written = 0; written < piece.length;) {
      written += await file.write(piece.subarray(written));
    }
    sector += sectors(piece);
  }
  if (sector * SECTOR > BOOT_DISK_SIZE) {
    throw new NestedError(
      `The kernel and its root need ${sector * SECTOR} bytes, more than the boot disk has`,
    );
  }
}

/**
 * Fields of the setup header, which the kernel's image and its parameters share (Linux,
 * Documentation/arch/x86/boot.rst).
 */
const HEADER = {
  setupSectors: 0x1f1,
  jumpLength: 0x201,
  magic: 0x202,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLinePointer: 0x228,
} as const;
const MAGIC = "HdrS";
const DEFAULT_SETUP_SECTORS = 4;
const LOADER_WITHOUT_NUMBER = 0xff;
const LOADED_HIGH = 1;

/** The memory map in the parameters (Linux, Documentation/arch/x86/zero-page.rst). */
const MAP = { entries: 0x1e8, table: 0x2d0, entrySize: 20 } as const;
const MEMORY_TYPE = { usable: 1, reserved: 2 } as const;

const PAGE = 0x1000;
const MEGABYTE = 2 ** 20;
/** Where the BIOS's own data begin below 640 KiB, and where its ROMs begin. */
const BIOS_DATA = 0x9fc00;
const VIDEO_MEMORY = 0xa0000;
const ROMS = 0xe0000;

/** A kernel as a boot loader puts it into memory. */
interface LoadedKernel {
  /** What goes to {@linkcode ADDRESS}.parameters: the parameters, and the command line on the page behind them. */
  parameters: Uint8Array<ArrayBuffer>;
  /** What goes to {@linkcode ADDRESS}.kernel. */
  kernel: Uint8Array<ArrayBuffer>;
}

/**
 * The memory map of a Bochs machine. Its BIOS keeps the ACPI tables at the end of memory: the last megabyte is left to
 * them.
 */
function memoryMap(memory: number): readonly (readonly [number, number, number])[] {
  return [
    [0, BIOS_DATA, MEMORY_TYPE.usable],
    [BIOS_DATA, VIDEO_MEMORY, MEMORY_TYPE.reserved],
    [ROMS, MEGABYTE, MEMORY_TYPE.reserved],
    [MEGABYTE, memory - MEGABYTE, MEMORY_TYPE.usable],
    [memory - MEGABYTE, memory, MEMORY_TYPE.reserved],
  ];
}

/**
 * Takes a kernel's bzImage apart as a boot loader does, and fills in its parameters.
 *
 * @param image The bzImage.
 * @param commandLine What the kernel is told.
 * @param memory Bytes of the machine's memory.
 * @param initramfs Bytes of its first root file system.
 * @throws {NestedError} When it is no bzImage.
 */
export function loadKernel(
  image: Uint8Array,
  commandLine: string,
  memory: number,
  initramfs: number,
): LoadedKernel {
  const magic = new TextDecoder("latin1").decode(image.subarray(HEADER.magic, HEADER.magic + 4));
  if (magic !== MAGIC) throw new NestedError("The kernel's package has no bzImage of Linux");
  const parameters = new Uint8Array(2 * PAGE);
  const headerEnd = HEADER.magic + image[HEADER.jumpLength];
  parameters.set(image.subarray(HEADER.setupSectors, headerEnd), HEADER.setupSectors);
  parameters.set(new TextEncoder().encode(`${commandLine}\0`), PAGE);
  const view = new DataView(parameters.buffer);
  view.setUint8(HEADER.typeOfLoader, LOADER_WITHOUT_NUMBER);
  view.setUint8(HEADER.loadFlags, view.getUint8(HEADER.loadFlags) | LOADED_HIGH);
  view.setUint32(HEADER.ramdiskImage, ADDRESS.initramfs, true);
  view.setUint32(HEADER.ramdiskSize, initramfs, true);
  view.setUint32(HEADER.commandLinePointer, ADDRESS.parameters + PAGE, true);
  const map = memoryMap(memory);
  view.setUint8(MAP.entries, map.length);
  for (const [index, [start, end, type]] of map.entries()) {
    const offset = MAP.table + index * MAP.entrySize;
    view.setBigUint64(offset, BigInt(start), true);
    view.setBigUint64(offset + 8, BigInt(end - start), true);
    view.setUint32(offset + 16, type, true);
  }
  const setupSectors = image[HEADER.setupSectors] || DEFAULT_SETUP_SECTORS;
  return { parameters, kernel: image.slice((1 + setupSectors) * SECTOR) };
}

/** Where the machine reads its parts from disk to, below what the BIOS uses of the first megabyte. */
export const ADDRESS = {
  /** The kernel's parameters ("boot_params") with its command line behind them. */
  parameters: 0x90000,
  /** The kernel proper: where Linux for x86-64 prefers to be (setup header, `pref_address`). */
  kernel: 0x1000000,
  /** The first root file system, behind all that the kernel unpacks itself to. */
  initramfs: 0x10000000,
} as const;

/** Bytes of a sector. */
export const SECTOR = 512;

/**
 * NASM source of the first sector of a disk that boots Linux: it reads the parts that follow it on the disk to their
 * addresses, and enters the kernel's 32-bit entry point (Linux, Documentation/arch/x86/boot.rst). The BIOS reads to
 * below 1 MiB only; from there the parts are copied in real mode with segments of 4 GiB. `PARAMETERS_SECTORS`,
 * `KERNEL_SECTORS` and `INITRAMFS_SECTORS` are the parts' lengths.
 */
export const BOOT_SECTOR: string = `
bits 16
org 0x7c00
%define BUFFER 0x20000
%define BUFFER_SECTORS 64
%define READ_SECTORS 0x42           ; INT 13h extensions
%define PACKET_SIZE 16
%define SYSTEM_CONTROL_A 0x92
%define A20 2
%define PROTECTION 1
%define CODE 0x10                   ; as Linux wants them: __BOOT_CS and __BOOT_DS
%define DATA 0x18

start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    mov [drive], dl
    in al, SYSTEM_CONTROL_A
    or al, A20
    out SYSTEM_CONTROL_A, al

    ; DS and ES keep their limit of 4 GiB when protected mode is left again.
    lgdt [descriptors.pointer]
    mov eax, cr0
    or al, PROTECTION
    mov cr0, eax
    mov bx, DATA
    mov ds, bx
    mov es, bx
    and al, ~PROTECTION
    mov cr0, eax
    xor ax, ax
    mov ds, ax
    mov es, ax
    sti
    cld

    mov bp, parts
.part:
    mov edi, [bp]                   ; where to
    mov ecx, [bp + 4]               ; sectors left
    jecxz .enter
.read:
    mov eax, BUFFER_SECTORS
    cmp ecx, eax
    ja .sized
    mov eax, ecx
.sized:
    mov [packet.sectors], ax
    pushad
    mov si, packet
    mov ah, READ_SECTORS
    mov dl, [drive]
    int 0x13
    jc stop
    popad
    add [packet.first], eax
    sub ecx, eax
    push ecx
    shl eax, 7                      ; sectors to doublewords
    mov ecx, eax
    mov esi, BUFFER
    a32 rep movsd
    pop ecx
    test ecx, ecx
    jnz .read
    add bp, 8
    jmp .part

.enter:
    cli
    mov eax, cr0
    or al, PROTECTION
    mov cr0, eax
    jmp CODE:protected
stop:
    hlt
    jmp stop

bits 32
protected:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esi, ${ADDRESS.parameters}
    xor ebp, ebp
    xor edi, edi
    xor ebx, ebx
    jmp dword CODE:${ADDRESS.kernel}

drive: db 0
align 8
packet:
    dw PACKET_SIZE
.sectors: dw 0
    dw 0, BUFFER >> 4
.first: dq 1
descriptors: dq 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
.pointer:
    dw descriptors.pointer - descriptors - 1
    dd descriptors
parts:
    dd ${ADDRESS.parameters}, PARAMETERS_SECTORS
    dd ${ADDRESS.kernel}, KERNEL_SECTORS
    dd ${ADDRESS.initramfs}, INITRAMFS_SECTORS
    dd 0, 0
    times ${SECTOR} - 2 - ($ - $$) db 0
    dw 0xaa55
`;
