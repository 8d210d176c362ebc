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
 * NASM source of the first sector of a disk that boots Linux: it reads the parts that follow it on the disk to their addresses, and enters the kernel's 32-bit
 * entry point (Linux, Documentation/arch/x86/boot.rst). The BIOS reads to below 1 MiB only; from there the parts are copied
 * in real mode with segments of 4 GiB. `PARAMETERS_SECTORS`, `KERNEL_SECTORS` and `INITRAMFS_SECTORS` are the parts' lengths.
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
